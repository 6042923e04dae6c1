use atasker::background_worker;
use std::rc::Rc;

#[background_worker(queue)]
fn work(item: Rc<u32>) {
    let _ = item;
}

fn main() {
    let worker = work();
    worker.start();
}
