use atasker::background_worker;

#[background_worker(interval = 5)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
