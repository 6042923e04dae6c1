use atasker::background_worker;
fn hook(_: u32) {}

#[background_worker(on_error = hook)]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
