use atasker::background_task;
use std::rc::Rc;

#[background_task]
async fn work(n: u32) -> u32 {
    let rc = Rc::new(n);
    std::future::ready(()).await;
    *rc
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
