use atasker::background_worker;

#[background_worker(interval = "1s", overrun = burst)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
