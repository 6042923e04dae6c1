use atasker::background_worker;

#[background_worker(aloop = "io")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
