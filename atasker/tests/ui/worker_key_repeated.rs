use atasker::background_worker;

#[background_worker(event, event)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
