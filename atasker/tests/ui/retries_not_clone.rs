use atasker::background_task;
struct Once(u32);

#[background_task(retries = 3)]
fn work(n: u32, once: Once) -> u32 {
    n + once.0
}

fn main() {
    let _: u32 = work(1, Once(1)).join().unwrap();
}
