use atasker::background_worker;

#[background_worker(interval = "0s")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
