use atasker::background_worker;
use std::rc::Rc;

#[background_worker(event)]
fn work(n: &mut Rc<u32>) {
    let _ = n;
}

fn main() {
    work(Rc::new(1)).trigger();
}
