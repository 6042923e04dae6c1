use atasker::background_task;

#[background_task(backoff = "100ms..30s")]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
