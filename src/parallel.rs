//! The same work on many things, on several threads, with the results in the order of the things.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// As many threads as the machine has cores.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// The same for so many bytes in parts of this size: four threads at most, and one where there is little to do.
pub(crate) fn cores_for(bytes: u64, part_bytes: usize) -> usize {
    if bytes / 16 < part_bytes as u64 { 1 } else { cores().min(4) }
}

/// Does `work` on all of `items` on `jobs` threads and gives the results to `take`, in the order of the items.
///
/// # Errors
/// The first error of `take` ends everything.
pub(crate) fn in_order<I: Send, T: Send, E>(
    items: impl Iterator<Item = I> + Send,
    jobs: usize,
    work: impl Fn(I) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let items = Mutex::new((0_u64..).zip(items));
    let (done, received) = mpsc::sync_channel(jobs);
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (done, items, work) = (done.clone(), &items, &work);
            scope.spawn(move || {
                loop {
                    let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((number, item)) = next else { return };
                    // The other end is gone when an error has ended everything.
                    if done.send((number, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut early = BTreeMap::new();
        let mut wanted = 0;
        for (number, result) in received {
            early.insert(number, result);
            while let Some(result) = early.remove(&wanted) {
                take(result)?;
                wanted += 1;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        let mut taken = Vec::new();
        in_order(
            0..1000_u64,
            3,
            |number| number * number,
            |square| {
                taken.push(square);
                anyhow::Ok(())
            },
        )
        .unwrap();
        assert_eq!(taken, (0..1000).map(|number| number * number).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_everything() {
        let mut taken = 0;
        let result = in_order(
            0..,
            2,
            |number: u64| number,
            |number| {
                taken += 1;
                anyhow::ensure!(number < 10, "enough");
                Ok(())
            },
        );
        assert_eq!(result.unwrap_err().to_string(), "enough");
        assert_eq!(taken, 11);
    }
}
