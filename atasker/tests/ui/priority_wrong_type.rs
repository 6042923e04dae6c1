use atasker::background_task;
const URGENT: u8 = 1;

#[background_task(priority = URGENT)]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
