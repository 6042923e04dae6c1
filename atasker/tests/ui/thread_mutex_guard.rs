use std::sync::{Mutex, MutexGuard};
use atasker::background_task;

static TOTAL: Mutex<u32> = Mutex::new(0);

#[background_task]
fn work(total: MutexGuard<'static, u32>) {
    println!("{total}");
}

fn main() {
    work(TOTAL.lock().unwrap()).join().unwrap();
}
