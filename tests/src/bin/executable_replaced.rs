//! Runs each task in a new worker process, one per line of input, while the test in
//! `tests/executable_replaced.rs` replaces its file.

use atasker::{MpPoolConfig, background_task, supervisor};

#[background_task(tt = "mp")]
fn double(n: u64) -> (u64, u32) {
    (2 * n, std::process::id())
}

fn main() {
    supervisor().set_mp_pool(MpPoolConfig::new(1).max_tasks_per_worker(1));
    for line in std::io::stdin().lines() {
        let n = line.unwrap().parse().unwrap();
        match double(n).join() {
            Ok((doubled, pid)) => println!("{doubled} {pid}"),
            Err(error) => println!("error: {error}"),
        }
    }
}
