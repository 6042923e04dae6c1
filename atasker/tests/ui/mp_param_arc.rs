use std::sync::{Arc, Mutex};
use atasker::background_task;

#[background_task(tt = "mp")]
fn work(total: Arc<Mutex<u32>>, n: u32) {
    *total.lock().unwrap() += n;
}

fn main() {
    let total = Arc::default();
    work(total, 1).join().unwrap();
}
