use atasker::background_worker;

#[background_worker(overrun = "skip")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
