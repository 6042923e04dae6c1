use atasker::background_task;
use std::time::Duration;

const PAUSE: Duration = Duration::from_secs(1);

#[background_task(retries = 3, backoff = PAUSE)]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
