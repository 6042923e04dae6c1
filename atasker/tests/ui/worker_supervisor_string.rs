use atasker::background_worker;

#[background_worker(supervisor = "mine")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
