//! Who goes first where there are fewer cores than work.

/// Of 19. On Linux such a thread gets a tenth of what another gets beside it, and all that is left.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// From now on the calling thread, and what it starts, gives way to the threads that move tables. Only Linux knows a niceness
/// of threads; elsewhere nothing happens.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        log::info!("a thread cannot give way to those that move tables: {error}");
    }
}
