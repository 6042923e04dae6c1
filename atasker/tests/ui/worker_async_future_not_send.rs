use atasker::background_worker;
use std::rc::Rc;

#[background_worker(event)]
async fn work(n: u32) {
    let rc = Rc::new(n);
    std::future::ready(()).await;
    drop(rc);
}

fn main() {
    work(1).trigger();
}
