use atasker::background_task;

#[background_task(tt = "remote")]
fn work(n: impl Into<u32>) -> u32 {
    n.into()
}

fn main() {
    let _: u32 = work(1u8).join().unwrap();
}
