/// How much refused traffic one connection may send before it is closed.
///
/// Every refusal counts, and every allowed message takes one back. So a hasty client is forgiven, and one that floods is
/// disconnected within moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StrikeCounter {
    refusals: u16,
}

impl StrikeCounter {
    /// More refusals than any honest client collects: a storm of 40 greetings, all refused, is forgiven.
    const REFUSALS_MAX: u16 = 100;

    /// Counts a message that was allowed.
    pub fn allowed(&mut self) {
        self.refusals = self.refusals.saturating_sub(1);
    }

    /// Counts a message that was refused. Returns true when the connection must be closed.
    #[must_use]
    pub fn refused(&mut self) -> bool {
        self.refusals = self.refusals.saturating_add(1);
        self.refusals >= Self::REFUSALS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_forgiven_and_a_flood_is_not() {
        let mut strikes = StrikeCounter::default();
        assert!((0..40).all(|_| !strikes.refused()), "a storm");
        (0..40).for_each(|_| strikes.allowed());
        assert_eq!(strikes, StrikeCounter::default(), "made up for");
        let end = (1..).find(|_| strikes.refused());
        assert_eq!(end, Some(i32::from(StrikeCounter::REFUSALS_MAX)), "a flood");
    }
}
