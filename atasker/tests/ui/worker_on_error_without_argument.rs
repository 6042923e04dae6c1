use atasker::background_worker;

#[background_worker(on_error = || std::ops::ControlFlow::Break(()))]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
