//! The 32 pieces.

/// The two colours. Red ranks above black within every name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Color {
    /// Red: even point values.
    Red,
    /// Black: odd point values.
    Black,
}

/// The seven names, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the rule book's own")]
pub enum Name {
    General,
    Advisor,
    Elephant,
    Chariot,
    Horse,
    Cannon,
    Soldier,
}

impl Name {
    /// All names, strongest first.
    pub const ALL: [Self; 7] =
        [Self::General, Self::Advisor, Self::Elephant, Self::Chariot, Self::Horse, Self::Cannon, Self::Soldier];
}

/// A name and a colour. Pieces of one kind are interchangeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[display("{}", self.as_str())]
pub struct Kind {
    /// What is engraved.
    pub name: Name,
    /// In which colour.
    pub color: Color,
}

impl Kind {
    /// Value in points, 1 to 14 (rules, section 1).
    pub const fn points(self) -> u8 {
        14 - 2 * self.name as u8 - self.color as u8
    }

    /// `NAME_COLOR(points)`, for example `ELEPHANT_RED(10)`.
    pub const fn with_points(self) -> &'static str {
        match self.points() {
            14 => "GENERAL_RED(14)",
            13 => "GENERAL_BLACK(13)",
            12 => "ADVISOR_RED(12)",
            11 => "ADVISOR_BLACK(11)",
            10 => "ELEPHANT_RED(10)",
            9 => "ELEPHANT_BLACK(9)",
            8 => "CHARIOT_RED(8)",
            7 => "CHARIOT_BLACK(7)",
            6 => "HORSE_RED(6)",
            5 => "HORSE_BLACK(5)",
            4 => "CANNON_RED(4)",
            3 => "CANNON_BLACK(3)",
            2 => "SOLDIER_RED(2)",
            _ => "SOLDIER_BLACK(1)",
        }
    }

    /// `NAME_COLOR`, for example `ELEPHANT_RED`.
    pub const fn as_str(self) -> &'static str {
        let text = self.with_points();
        let suffix = if self.points() > 9 { "(14)".len() } else { "(1)".len() };
        text.split_at(text.len() - suffix).0
    }
}

/// One of the 32 pieces, numbered 0 to 31 as in `docs/fair-deals.md`: red before black, strong before weak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[display("{}", self.kind())]
pub struct Piece(u8);

impl Piece {
    /// How many pieces there are.
    pub const COUNT: usize = 32;

    /// The piece with this number, if there is one.
    pub const fn new(number: u8) -> Option<Self> {
        if number < 32 { Some(Self(number)) } else { None }
    }

    /// The piece whose number is `number` modulo 32.
    pub(super) const fn wrapping(number: u32) -> Self {
        Self((number & 31) as u8)
    }

    /// All pieces in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..32).map(Self)
    }

    /// The number, 0 to 31.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// What kind of piece it is.
    pub const fn kind(self) -> Kind {
        let color = if self.0 < 16 { Color::Red } else { Color::Black };
        let name = match self.0 & 15 {
            0 => Name::General,
            1 | 2 => Name::Advisor,
            3 | 4 => Name::Elephant,
            5 | 6 => Name::Chariot,
            7 | 8 => Name::Horse,
            9 | 10 => Name::Cannon,
            _ => Name::Soldier,
        };
        Kind { name, color }
    }

    /// Value in points, 1 to 14.
    pub const fn points(self) -> u8 {
        self.kind().points()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_complete() {
        let sum: u32 = Piece::all().map(|piece| u32::from(piece.points())).sum();
        assert_eq!(sum, 192);
        for name in Name::ALL {
            for color in [Color::Red, Color::Black] {
                let copies = match name {
                    Name::General => 1,
                    Name::Soldier => 5,
                    _ => 2,
                };
                let kind = Kind { name, color };
                assert_eq!(Piece::all().filter(|piece| piece.kind() == kind).count(), copies);
            }
        }
    }

    #[test]
    fn a_piece_is_spelled_as_on_the_wire() {
        assert_eq!(Piece(3).to_string(), "ELEPHANT_RED");
        assert_eq!(Piece(3).kind().with_points(), "ELEPHANT_RED(10)");
        assert_eq!(Piece(3).points(), 10);
        assert_eq!(Piece(31).to_string(), "SOLDIER_BLACK");
        for kind in Piece::all().map(Piece::kind) {
            let (name, color) = (format!("{:?}", kind.name), format!("{:?}", kind.color));
            assert_eq!(kind.as_str(), format!("{name}_{color}").to_uppercase());
            assert_eq!(kind.with_points(), format!("{kind}({})", kind.points()));
        }
        assert_eq!(Piece(31).points(), 1);
    }
}
