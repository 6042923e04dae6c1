use atasker::background_worker;
use std::cell::Cell;

#[background_worker(event, process_result = { let sum = Cell::new(0); move |n| sum.set(sum.get() + n) })]
fn work() -> u32 {
    1
}

fn main() {
    work().trigger();
}
