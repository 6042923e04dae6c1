use atasker::background_task;

#[background_task(tt = "mp")]
fn work<const N: usize>(n: [u32; N]) -> u32 {
    n[0]
}

fn main() {
    let _: u32 = work([1]).join().unwrap();
}
