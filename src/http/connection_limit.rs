use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use tokio::sync::Notify;

use crate::limit::Key;

/// Bounds the number of connections, in total and for each address (IPv6: each /64).
#[derive(Debug)]
pub struct ConnectionLimit {
    /// The total bound.
    pub(super) max: usize,
    max_per_address: usize,
    taken: AtomicUsize,
    by_address: DashMap<Key, usize>,
    emptied: Notify,
}

/// The right to one connection; released when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    key: Option<Key>,
}

/// Which bound is reached. The names are those in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
pub(super) enum LimitReached {
    /// The bound in total.
    #[error("the server has no room for another connection")]
    #[strum(serialize = "full")]
    Total,
    /// The bound for this address.
    #[error("too many connections from this address")]
    #[strum(serialize = "address_full")]
    ForAddress,
}

impl ConnectionLimit {
    /// At most `max` connections, and `max_per_address` of one address.
    pub(super) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            taken: AtomicUsize::new(0),
            by_address: DashMap::new(),
            emptied: Notify::new(),
        })
    }

    /// A permit for a client at this address.
    ///
    /// # Errors
    /// [`LimitReached`] says which bound is reached.
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        let mut permit = self.acquire_for_proxy()?;
        let key = Key::from_address(address);
        match self.by_address.entry(key) {
            Entry::Occupied(count) if *count.get() >= self.max_per_address => return Err(LimitReached::ForAddress),
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(none) => {
                none.insert(1);
            }
        }
        permit.key = Some(key);
        Ok(permit)
    }

    /// A permit for a reverse proxy, which speaks for many clients: only the total bound counts.
    ///
    /// # Errors
    /// [`LimitReached::Total`].
    pub(super) fn acquire_for_proxy(self: &Arc<Self>) -> Result<ConnectionPermit, LimitReached> {
        let free = |taken| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).map_err(|_| LimitReached::Total)?;
        Ok(ConnectionPermit { limit: Arc::clone(self), key: None })
    }

    /// How many permits are in use.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Waits until no permit is in use.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.taken() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && let Entry::Occupied(mut count) = self.limit.by_address.entry(key)
        {
            if *count.get() > 1 {
                *count.get_mut() -= 1;
            } else {
                count.remove();
            }
        }
        if self.limit.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.limit.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn permits_are_bounded_and_return() {
        let limit = ConnectionLimit::new(3, 2);
        let there: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let first = limit.acquire(there).unwrap();
        let _second = limit.acquire(neighbour).unwrap();
        assert_eq!(limit.acquire(there).unwrap_err(), LimitReached::ForAddress, "one /64 is one address");
        assert_eq!(limit.taken(), 2, "a refusal takes nothing");
        let third = limit.acquire(HERE).unwrap();
        assert_eq!(limit.acquire(HERE).unwrap_err(), LimitReached::Total);
        assert_eq!(limit.acquire_for_proxy().unwrap_err(), LimitReached::Total);
        drop((first, third));
        assert!(limit.acquire(there).is_ok());
        assert_eq!(limit.taken(), 1);
        assert_eq!(limit.by_address.len(), 1, "unused addresses are removed");
    }

    #[test]
    fn a_proxy_has_no_bound_per_address() {
        let limit = ConnectionLimit::new(10, 1);
        let held: Vec<_> = (0..10).map(|_| limit.acquire_for_proxy().unwrap()).collect();
        assert_eq!((held.len(), limit.taken(), limit.by_address.len()), (10, 10, 0));
    }

    #[tokio::test]
    async fn empty_resolves_when_all_permits_are_returned() {
        let limit = ConnectionLimit::new(3, 2);
        limit.empty().await;
        let permit = limit.acquire(HERE).unwrap();
        let waiting = tokio::spawn({
            let limit = Arc::clone(&limit);
            async move { limit.empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(permit);
        waiting.await.unwrap();
    }
}
