use atasker::background_task;
use std::rc::Rc;

#[background_task]
fn work(n: u32) -> Rc<u32> {
    Rc::new(n)
}

fn main() {
    let _ = work(1).join().unwrap();
}
