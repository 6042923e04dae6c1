use atasker::background_worker;

#[background_worker(name = 3)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
