use atasker::background_task;

#[background_task(remote)]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
