use atasker::background_task;
use std::rc::Rc;

#[background_task]
fn work(n: Rc<u32>) -> u32 {
    *n
}

fn main() {
    let _: u32 = work(Rc::new(1)).join().unwrap();
}
