use atasker::background_worker;

#[background_worker(on_error = "hook")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
