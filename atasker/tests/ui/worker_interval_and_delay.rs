use atasker::background_worker;

#[background_worker(interval = "1s", delay = "1s")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
