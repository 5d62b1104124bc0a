/// How much refused traffic one connection may send before it is closed.
///
/// Every refusal is remembered and every allowed message makes up for one, so a client that was merely hasty is
/// forgiven and one that floods is gone within moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrikeCounter {
    refusals: u16,
    most: u16,
}

impl StrikeCounter {
    /// More refusals than any honest client collects: a storm of 40 greetings, all refused, is forgiven.
    const REFUSALS: u16 = 100;

    /// Notes a message that was allowed.
    pub fn allowed(&mut self) {
        self.refusals = self.refusals.saturating_sub(1);
    }

    /// Notes a message that was refused. Says whether patience is at an end: then close the connection.
    #[must_use]
    pub fn refused(&mut self) -> bool {
        self.refusals = self.refusals.saturating_add(1);
        self.refusals >= self.most
    }
}

impl Default for StrikeCounter {
    fn default() -> Self {
        Self { refusals: 0, most: Self::REFUSALS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_forgiven_and_a_flood_is_not() {
        let mut patience = StrikeCounter::default();
        assert!((0..40).all(|_| !patience.refused()), "a storm");
        (0..40).for_each(|_| patience.allowed());
        assert_eq!(patience, StrikeCounter::default(), "made up for");
        let end = (1..).find(|_| patience.refused());
        assert_eq!(end, Some(i32::from(StrikeCounter::REFUSALS)), "a flood");
    }
}
