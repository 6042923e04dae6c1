use atasker::{background, background_task};

#[background_task]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = background!(work(1), tt = "mp").join().unwrap();
}
