use atasker::background_worker;

#[background_worker(interval)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
