use atasker::background_worker;

#[background_worker(intervall = "1s")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
