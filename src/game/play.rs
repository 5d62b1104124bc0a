//! What a play is, and which of two plays is the stronger.

use super::{Color, Name, PieceSet};

/// The nine types of play (rules, section 7). There is no order of strength between them.
///
/// As `&str` it is spelled as on the wire and in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum PlayKind {
    /// Any one piece.
    Single,
    /// Two of one kind.
    Pair,
    /// Three soldiers of one colour.
    ThreeOfAKind,
    /// One colour: general, advisor and elephant, or chariot, horse and cannon.
    Straight,
    /// Four soldiers of one colour.
    FourOfAKind,
    /// A straight with one of its names twice.
    ExtendedStraight,
    /// Five soldiers of one colour.
    FiveOfAKind,
    /// A straight with two of its names twice.
    #[strum(serialize = "EXTENDED_STRAIGHT_5")]
    ExtendedStraight5,
    /// Two chariots, two horses and two cannons of one colour.
    DoubleStraight,
}

impl PlayKind {
    /// How many pieces a play of this type has, 1 to 6.
    pub const fn count(self) -> u8 {
        match self {
            Self::Single => 1,
            Self::Pair => 2,
            Self::ThreeOfAKind | Self::Straight => 3,
            Self::FourOfAKind | Self::ExtendedStraight => 4,
            Self::FiveOfAKind | Self::ExtendedStraight5 => 5,
            Self::DoubleStraight => 6,
        }
    }
}

/// Pieces that form one of the nine types. There is no `Play` that is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub struct Play {
    pieces: PieceSet,
    kind: PlayKind,
}

impl Play {
    /// The play these pieces form, or `None` for what the rules call INVALID.
    pub fn classify(pieces: PieceSet) -> Option<Self> {
        let kind = match pieces.len() {
            1 => PlayKind::Single,
            2 => (!pieces.twins().is_empty() || soldiers(pieces)).then_some(PlayKind::Pair)?,
            3 => soldiers(pieces).then_some(PlayKind::ThreeOfAKind).or_else(|| straight(pieces, PlayKind::Straight))?,
            4 => soldiers(pieces)
                .then_some(PlayKind::FourOfAKind)
                .or_else(|| straight(pieces, PlayKind::ExtendedStraight))?,
            5 => soldiers(pieces)
                .then_some(PlayKind::FiveOfAKind)
                .or_else(|| straight(pieces, PlayKind::ExtendedStraight5))?,
            // Six pieces of one group are two of each name: the high group has only one general.
            6 => straight(pieces, PlayKind::DoubleStraight)?,
            _ => return None,
        };
        Some(Self { pieces, kind })
    }

    /// The pieces played.
    pub const fn pieces(self) -> PieceSet {
        self.pieces
    }

    /// The type of the play.
    pub const fn kind(self) -> PlayKind {
        self.kind
    }

    /// What plays of one type are compared by: the points, but in extended straights each name counts once
    /// (rules, section 8.4).
    pub fn strength(self) -> u32 {
        match self.kind {
            PlayKind::ExtendedStraight | PlayKind::ExtendedStraight5 => {
                // All three names of one colour and group are there, so group and colour say it all.
                GROUPS
                    .iter()
                    .find(|group| group.pieces.is_superset(self.pieces))
                    .map_or(0, |group| u32::from(group.points))
            }
            _ => self.pieces.points(),
        }
    }

    /// Whether this play takes the lead from `best`: same type and strictly stronger (rules, section 8.3).
    pub fn beats(self, best: Self) -> bool {
        self.kind == best.kind && self.strength() > best.strength()
    }
}

/// One of the four straight groups: a colour's high or low names.
pub(super) struct Group {
    pub(super) pieces: PieceSet,
    pub(super) names: [PieceSet; 3],
    /// Sum of the points of the three names, each once.
    pub(super) points: u8,
}

const fn group(names: [Name; 3], color: Color) -> Group {
    let [a, b, c] = names;
    let sets = [PieceSet::of_kind(a, color), PieceSet::of_kind(b, color), PieceSet::of_kind(c, color)];
    let points = super::Kind { name: a, color }.points()
        + super::Kind { name: b, color }.points()
        + super::Kind { name: c, color }.points();
    let [first, second, third] = sets;
    Group { pieces: first.union(second).union(third), names: sets, points }
}

const HIGH: [Name; 3] = [Name::General, Name::Advisor, Name::Elephant];
const LOW: [Name; 3] = [Name::Chariot, Name::Horse, Name::Cannon];
pub(super) static GROUPS: [Group; 4] =
    [group(HIGH, Color::Red), group(LOW, Color::Red), group(HIGH, Color::Black), group(LOW, Color::Black)];

/// `kind` if the pieces are of one group and hold all its names. No name has more than two copies in a group, so
/// the number of pieces decides how often names are doubled.
fn straight(pieces: PieceSet, kind: PlayKind) -> Option<PlayKind> {
    let group = GROUPS.iter().find(|group| group.pieces.is_superset(pieces))?;
    group.names.iter().all(|name| !name.intersection(pieces).is_empty()).then_some(kind)
}

fn soldiers(pieces: PieceSet) -> bool {
    const RED: PieceSet = PieceSet::of_kind(Name::Soldier, Color::Red);
    const BLACK: PieceSet = PieceSet::of_kind(Name::Soldier, Color::Black);
    RED.is_superset(pieces) || BLACK.is_superset(pieces)
}
