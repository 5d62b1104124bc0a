//! Makes the allocator of glibc give free memory back to the system. Does nothing with another allocator.

use std::num::NonZero;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::{env, thread};

/// The variable that glibc reads when a process starts, and only then.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Marks a process that has executed itself. The variable of glibc cannot: it is removed from a program with capabilities
/// of its own.
const EXECUTED: &str = "LIAP_STARTED_ANEW";

/// Executes the program again, in the same process, without caches for threads and with one arena for each core.
///
/// Memory in the cache of a thread goes back only when the thread ends, and each small piece keeps a page from going back.
/// Every arena, eight for each core by default, has nearly empty pages of its own. After many rooms these are more than all
/// memory in use. Does nothing if `GLIBC_TUNABLES` is set.
///
/// Returns in the executed program. Call it before there is a second thread or an open file.
pub fn tune_allocator() {
    let is_glibc = cfg!(all(target_os = "linux", target_env = "gnu"));
    if !is_glibc || env::var_os(TUNABLES).is_some() || env::var_os(EXECUTED).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let arenas = thread::available_parallelism().map_or(1, NonZero::get);
    let tunables = format!("glibc.malloc.tcache_count=0:glibc.malloc.arena_max={arenas}");
    command.args(arguments).env(TUNABLES, tunables).env(EXECUTED, "1");
    // Returns only on failure; the server then works as well and takes some megabytes more.
    let _error = command.exec();
}

/// Gives free memory back to the system. The allocator of glibc keeps it for ever wherever a longer-lived allocation lies
/// behind it. Takes some milliseconds; call it off the threads that move tables.
pub fn trim_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "there is no other way to ask the allocator")]
    // SAFETY: malloc_trim() may be called at any time, from any thread, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
