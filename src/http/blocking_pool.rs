//! Work that may wait for a disk.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Bounds work that may wait for a disk, so that a slow disk cannot take the blocking threads that health checks need.
#[derive(Debug)]
pub(super) struct BlockingPool(Arc<Semaphore>);

/// How many calls run at once. Others wait for a permit.
const PERMITS: usize = 8;

impl BlockingPool {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PERMITS)))
    }

    /// Runs `read` once there is a permit. The permit belongs to the thread: a cancelled request does not release it while
    /// its read goes on.
    ///
    /// # Errors
    /// [`JoinError`] if `read` has panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // It fails only for a closed semaphore, and this one stays open.
        let permit = Arc::clone(&self.0).acquire_owned().await.ok();
        let read = move || {
            let _permit = permit;
            read()
        };
        spawn_blocking(read).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_cancelled_request_keeps_its_permit_while_its_read_goes_on() {
        let blocking = Arc::new(BlockingPool::new());
        // The disk hangs until the sender is gone.
        let (disk, hangs) = sync_channel::<()>(0);
        let hangs = Arc::new(std::sync::Mutex::new(hangs));
        for _ in 0..PERMITS {
            let (blocking, hangs) = (Arc::clone(&blocking), Arc::clone(&hangs));
            let context =
                tokio::spawn(async move { blocking.run(move || hangs.lock().unwrap().recv().is_err()).await });
            yield_now().await;
            context.abort();
            assert!(context.await.unwrap_err().is_cancelled());
        }
        assert_eq!(blocking.0.available_permits(), 0);
        drop(disk);
        assert!(blocking.run(|| true).await.unwrap(), "the permits return with the threads");
    }

    #[tokio::test]
    async fn a_read_that_panics_releases_its_permit() {
        let blocking = BlockingPool::new();
        assert!(blocking.run(|| panic!("on purpose")).await.unwrap_err().is_panic());
        assert_eq!(blocking.0.available_permits(), PERMITS);
    }
}
