use atasker::background_worker;

#[background_worker(delay = "1s", overrun = "skip")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
