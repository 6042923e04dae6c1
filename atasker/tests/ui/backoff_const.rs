use atasker::{Backoff, background_task};
use std::time::Duration;

const REVERSED: Backoff = Backoff::exponential(Duration::from_secs(2), Duration::from_secs(1));

#[background_task(retries = 3, backoff = REVERSED)]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
