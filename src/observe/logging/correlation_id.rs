use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::super::wall_time;

/// The id on all lines of one request or one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelationId(Arc<str>);

tokio::task_local! {
    static CURRENT: CorrelationId;
}

impl CorrelationId {
    const BYTES_MAX: usize = 64;

    /// The id that a client or proxy gave, if it is at most 64 letters, digits, `-`, `_` and `.`.
    pub fn given(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.into()))
    }

    /// A new id: a counter of this process, from a random start.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static START: OnceLock<u64> = OnceLock::new();
        let start = START.get_or_init(|| {
            // Without the system's randomness the clock is good enough: ids are no secrets.
            getrandom::u64().unwrap_or_else(|_| wall_time().as_microsecond().unsigned_abs())
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{:016x}", start.wrapping_add(number)).into())
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the task that is running, if it has one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs a future under this id.
    // Not `async`, which would keep the future twice: as an argument, and while it runs.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_outside_are_plain_words() {
        let long = "x".repeat(65);
        for wrong in ["", "a b", "a\"b", "ü", long.as_str()] {
            assert_eq!(CorrelationId::given(wrong), None, "{wrong}");
        }
        assert_ne!(CorrelationId::fresh(), CorrelationId::fresh());
    }
}
