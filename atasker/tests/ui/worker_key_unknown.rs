use atasker::background_worker;

#[background_worker(colour = "red")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
