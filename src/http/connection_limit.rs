use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use tokio::sync::Notify;

use crate::limit::Key;

/// A bounded number of places, in all and for each address (IPv6: each /64). Whoever holds a `ConnectionPermit` holds one until
/// he drops it.
#[derive(Debug)]
pub struct ConnectionLimit {
    most: usize,
    most_per_address: usize,
    taken: AtomicUsize,
    by_address: DashMap<Key, usize>,
    emptied: Notify,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    places: Arc<ConnectionLimit>,
    key: Option<Key>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitReached {
    /// All places are taken.
    #[error("the server has no room for another connection")]
    InAll,
    /// This address has all the places it may have.
    #[error("too many connections from this address")]
    ForAddress,
}

impl LimitReached {
    /// Its name in the metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InAll => "full",
            Self::ForAddress => "address_full",
        }
    }
}

impl ConnectionLimit {
    /// So many places.
    pub(super) fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_per_address,
            taken: AtomicUsize::new(0),
            by_address: DashMap::new(),
            emptied: Notify::new(),
        })
    }

    /// Takes a place for a client at this address.
    ///
    /// # Errors
    /// [`LimitReached`] says which bound is reached.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        let mut place = self.take_for_many()?;
        let key = Key::from_address(address);
        match self.by_address.entry(key) {
            Entry::Occupied(count) if *count.get() >= self.most_per_address => return Err(LimitReached::ForAddress),
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(none) => {
                none.insert(1);
            }
        }
        place.key = Some(key);
        Ok(place)
    }

    /// Takes a place for a peer that speaks for many clients, such as a reverse proxy: only the bound in all counts.
    ///
    /// # Errors
    /// [`LimitReached::InAll`].
    pub(super) fn take_for_many(self: &Arc<Self>) -> Result<ConnectionPermit, LimitReached> {
        let free = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).map_err(|_| LimitReached::InAll)?;
        Ok(ConnectionPermit { places: Arc::clone(self), key: None })
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// How many places there are.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Waits until every place has been given back.
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
            && let Entry::Occupied(mut count) = self.places.by_address.entry(key)
        {
            if *count.get() > 1 {
                *count.get_mut() -= 1;
            } else {
                count.remove();
            }
        }
        if self.places.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.places.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn places_are_bounded_and_come_back() {
        let places = ConnectionLimit::new(3, 2);
        let there: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let first = places.take(there).unwrap();
        let _second = places.take(neighbour).unwrap();
        assert_eq!(places.take(there).unwrap_err(), LimitReached::ForAddress, "one /64 is one address");
        assert_eq!(places.taken(), 2, "a refusal takes nothing");
        let third = places.take(HERE).unwrap();
        assert_eq!(places.take(HERE).unwrap_err(), LimitReached::InAll);
        assert_eq!(places.take_for_many().unwrap_err(), LimitReached::InAll);
        drop((first, third));
        assert!(places.take(there).is_ok());
        assert_eq!(places.taken(), 1);
        assert_eq!(places.by_address.len(), 1, "the gone are forgotten");
    }

    #[test]
    fn a_proxy_speaks_for_many() {
        let places = ConnectionLimit::new(10, 1);
        let held: Vec<_> = (0..10).map(|_| places.take_for_many().unwrap()).collect();
        assert_eq!((held.len(), places.taken(), places.by_address.len()), (10, 10, 0));
    }

    #[tokio::test]
    async fn one_can_wait_for_all_to_be_gone() {
        let places = ConnectionLimit::new(3, 2);
        places.empty().await;
        let place = places.take(HERE).unwrap();
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(place);
        waiting.await.unwrap();
    }
}
