use atasker::background_worker;
use std::rc::Rc;

#[background_worker(event)]
async fn work(n: Rc<u32>) {
    let _ = n;
}

fn main() {
    work(Rc::new(1)).trigger();
}
