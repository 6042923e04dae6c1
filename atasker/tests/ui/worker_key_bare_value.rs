use atasker::background_worker;

#[background_worker(interval = "1s", burst)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
