use atasker::background_worker;
use std::cell::Cell;

#[background_worker(event)]
async fn work(n: &Cell<u32>) {
    n.set(1);
}

fn main() {
    work(Cell::new(1)).trigger();
}
