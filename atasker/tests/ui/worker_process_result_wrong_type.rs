use atasker::background_worker;
fn told(_: &String) {}

#[background_worker(process_result = told)]
fn work() -> u32 {
    1
}

fn main() {
    let worker = work();
    worker.start();
}
