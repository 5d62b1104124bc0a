//! What the allocator of glibc must be told so that free memory goes back to the system. Elsewhere nothing happens here.

use std::num::NonZero;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::{env, thread};

/// What glibc reads when a process starts, and only then.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Tells ourselves that we have started anew. The variable of glibc does not: it is taken away from a program that has
/// capabilities of its own.
const STARTED_ANEW: &str = "LIAP_STARTED_ANEW";

/// Starts the program anew, in the same process, with an allocator that sets nothing aside for each thread and has an arena
/// for each core. What a thread has set aside goes back only when the thread ends, and each small piece of it keeps a page
/// from going back; every arena, otherwise eight for each core, has its own pages that are nearly empty. After many rooms
/// these are more than all that is in use. Does nothing if whoever runs the program has set `GLIBC_TUNABLES` himself.
///
/// Returns in the program that was started anew. Call it before there is a second thread, or anything open.
pub fn tune_allocator() {
    let is_glibc = cfg!(all(target_os = "linux", target_env = "gnu"));
    if !is_glibc || env::var_os(TUNABLES).is_some() || env::var_os(STARTED_ANEW).is_some() {
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
    command.args(arguments).env(TUNABLES, tunables).env(STARTED_ANEW, "1");
    // It returns only if that cannot be, and then the server is as good, and some megabytes larger.
    let _refused = command.exec();
}

/// Gives memory that is free back to the system. The allocator of glibc keeps it for ever otherwise, wherever something
/// that lives longer lies behind it. Takes some milliseconds; call it off the threads that carry moves.
pub fn trim_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "there is no other way to ask the allocator")]
    // SAFETY: malloc_trim() may be called at any time, from any thread, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
