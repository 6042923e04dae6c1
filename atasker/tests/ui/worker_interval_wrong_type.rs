use atasker::background_worker;
const EVERY: u64 = 1;

#[background_worker(interval = EVERY)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
