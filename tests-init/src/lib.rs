//! Shared by the programs of this package.

use atasker::background_task;

/// Runs in a worker process and returns that process's id.
#[background_task(tt = "mp")]
pub fn add(a: u64, b: u64) -> (u64, u32) {
    (a + b, std::process::id())
}

/// Launches a task in a worker process and prints its outcome.
pub fn report() {
    match add(1, 2).join() {
        Ok((sum, pid)) => println!("sum {sum}, elsewhere: {}", pid != std::process::id()),
        Err(error) => println!("error: {error}"),
    }
}
