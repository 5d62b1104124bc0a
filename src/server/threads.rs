use std::future::pending;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::observe;

/// Threads for what may block: files, the archive, bots that think. They come and go with the work.
const BLOCKING_THREADS: usize = 32;
const BLOCKING_THREAD: &str = "liap-blocking";
/// Our own work needs little; the rest is for libraries that decompress on the stack.
const THREAD_STACK_BYTES: usize = 1024 * 1024;

/// The runtime that moves tables, one thread for each core.
///
/// Its threads are called `liap`, those that may wait for a disk `liap-blocking`, so that you can tell them apart from
/// outside. The runtime starts the former first.
pub(super) fn table_runtime() -> io::Result<Runtime> {
    let table_threads = thread::available_parallelism().map_or(1, NonZero::get);
    let started = AtomicUsize::new(0);
    let name = move || {
        let is_table_thread = started.fetch_add(1, Ordering::Relaxed) < table_threads;
        if is_table_thread { "liap" } else { BLOCKING_THREAD }.to_owned()
    };
    let mut builder = Builder::new_multi_thread();
    with_limits(builder.thread_name_fn(name).worker_threads(table_threads)).build()
}

/// Starts the thread `liap-http`, which accepts connections and answers requests until the process ends. It gives way to
/// the tables, so a flood of connections delays no move.
pub(super) fn start_request_thread() -> io::Result<Handle> {
    let mut builder = Builder::new_current_thread();
    let runtime = with_limits(builder.thread_name(BLOCKING_THREAD)).build()?;
    let handle = runtime.handle().clone();
    let run = move || {
        observe::lower_priority();
        runtime.block_on(pending::<()>());
    };
    thread::Builder::new().name("liap-http".to_owned()).stack_size(THREAD_STACK_BYTES).spawn(run)?;
    Ok(handle)
}

fn with_limits(builder: &mut Builder) -> &mut Builder {
    builder.enable_all().thread_stack_size(THREAD_STACK_BYTES).max_blocking_threads(BLOCKING_THREADS)
}

/// Each socket is an open file, and many systems allow a process 1024 unless it asks for more.
pub(super) fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        log::warn!("the limit of {} open files cannot be raised: {error}", current.unwrap_or(u64::MAX));
    }
}
