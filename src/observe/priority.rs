//! Priority of threads where there are fewer cores than work.

/// Out of 19. Beside a thread of normal priority, Linux gives such a thread a tenth of the time.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// From now on the calling thread, and every thread it starts, gives way to the threads that move tables. Does nothing
/// outside of Linux, which alone has a niceness of threads.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        log::info!("the priority of a thread cannot be lowered: {error}");
    }
}
