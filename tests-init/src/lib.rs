//! What the programs of this package have in common.

use atasker::background_task;

/// Runs in a worker process, and says which one.
#[background_task(tt = "mp")]
pub fn add(a: u64, b: u64) -> (u64, u32) {
    (a + b, std::process::id())
}

/// Launches a task for a worker process, and prints what comes of it.
pub fn report() {
    match add(1, 2).join() {
        Ok((sum, pid)) => println!("sum {sum}, elsewhere: {}", pid != std::process::id()),
        Err(error) => println!("error: {error}"),
    }
}
