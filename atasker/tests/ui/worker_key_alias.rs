use atasker::background_worker;

#[background_worker(every = "1s")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
