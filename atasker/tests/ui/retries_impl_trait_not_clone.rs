use atasker::background_task;

#[background_task(retries = 3)]
fn work(n: impl FnOnce() -> u32 + Send + 'static) -> u32 {
    n()
}

fn main() {
    let _: u32 = work(|| 1).join().unwrap();
}
