use atasker::background_worker;
fn told(_: u32) {}

#[background_worker(on_error = told)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
