use atasker::background_task;

#[background_task(tt = "remote")]
fn work<const N: usize>(n: [u8; N]) -> usize {
    n.len()
}

fn main() {
    let _: usize = work([1]).join().unwrap();
}
