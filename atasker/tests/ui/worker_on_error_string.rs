use atasker::background_worker;

#[background_worker(on_error = "told")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
