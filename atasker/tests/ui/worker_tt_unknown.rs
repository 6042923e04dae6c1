use atasker::background_worker;

#[background_worker(tt = "process")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
