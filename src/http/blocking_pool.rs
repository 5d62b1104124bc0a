//! Reading what is on disk, for whoever asks.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Threads that may wait for a disk: fewer than there are, or a slow one would hold up whoever asks how the server is.
#[derive(Debug)]
pub(super) struct BlockingPool(Arc<Semaphore>);

/// How many read at once. Others wait for their turn.
const AT_ONCE: usize = 8;

impl BlockingPool {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Reads when it has its turn. The turn goes with the thread: who hangs up meanwhile gives none back.
    ///
    /// # Errors
    /// [`JoinError`] if it has panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // Refused only when the semaphore is closed, which nobody does.
        let turn = Arc::clone(&self.0).acquire_owned().await.ok();
        let read = move || {
            let _turn = turn;
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
    async fn who_hangs_up_gives_no_turn_back_while_his_read_goes_on() {
        let blocking = Arc::new(BlockingPool::new());
        // The disk hangs until the sender is gone.
        let (disk, hangs) = sync_channel::<()>(0);
        let hangs = Arc::new(std::sync::Mutex::new(hangs));
        for _ in 0..AT_ONCE {
            let (blocking, hangs) = (Arc::clone(&blocking), Arc::clone(&hangs));
            let context =
                tokio::spawn(async move { blocking.run(move || hangs.lock().unwrap().recv().is_err()).await });
            yield_now().await;
            context.abort();
            assert!(context.await.unwrap_err().is_cancelled());
        }
        assert_eq!(blocking.0.available_permits(), 0);
        drop(disk);
        assert!(blocking.run(|| true).await.unwrap(), "and the turns come back with the threads");
    }

    #[tokio::test]
    async fn a_read_that_panics_gives_its_turn_back() {
        let blocking = BlockingPool::new();
        assert!(blocking.run(|| panic!("on purpose")).await.unwrap_err().is_panic());
        assert_eq!(blocking.0.available_permits(), AT_ONCE);
    }
}
