use atasker::background_task;

#[background_task(tt = "mp")]
fn work<T: Into<u32>>(n: T) -> u32 {
    n.into()
}

fn main() {
    let _: u32 = work(1u8).join().unwrap();
}
