use atasker::background_worker;

#[background_worker(tt = "async")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
