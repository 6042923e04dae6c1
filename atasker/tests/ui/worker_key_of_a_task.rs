use atasker::background_worker;

#[background_worker(event, callback = done)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
