#![deny(unused_must_use)]
use atasker::background_task;

#[background_task]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    work(1);
    work::builder(1);
    work::builder(1).start();
}
