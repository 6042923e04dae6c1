//! A program with a static constructor that runs after the hook: `tests/start_shared_library` links
//! an object file to it whose constructor calls `late_constructor`.

use std::sync::OnceLock;

use atasker::{background_task, supervisor};

#[background_task(tt = "mp")]
fn square(n: u64) -> u64 {
    n * n
}

/// The outcome of the constructor's task in this process.
static LATE: OnceLock<String> = OnceLock::new();

/// Whether the arguments of a process identify it as a worker process.
fn is_worker(process: &str) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{process}/cmdline"));
    line.is_ok_and(|line| line.contains("[atasker worker"))
}

#[unsafe(no_mangle)]
extern "C" fn late_constructor() {
    let parent = std::os::unix::process::parent_id().to_string();
    if is_worker("self") && is_worker(&parent) {
        // Otherwise each would start the next one, endlessly.
        eprintln!("a worker process has started a worker process");
        std::process::abort();
    }
    let outcome = square(5).join();
    let _ = LATE.set(outcome.map_or_else(|error| error.to_string(), |square| square.to_string()));
}

#[background_task(tt = "mp")]
fn late_in_worker() -> Option<String> {
    LATE.get().cloned()
}

fn main() {
    println!("main: {:?}", LATE.get());
    println!("worker: {:?}", late_in_worker().join());
    println!("workers: {}", supervisor().info().mp_pool.expect("the pool has run").workers.len());
}
