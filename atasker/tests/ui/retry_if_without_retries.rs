use atasker::background_task;

fn is_small(n: &u32) -> bool {
    *n < 10
}

#[background_task(retry_if = is_small)]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
