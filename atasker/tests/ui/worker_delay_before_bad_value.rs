use atasker::background_worker;

#[background_worker(interval = "1s", delay_before = "soon")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
