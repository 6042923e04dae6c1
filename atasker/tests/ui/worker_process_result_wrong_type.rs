use atasker::background_worker;
fn hook(_: &String) {}

#[background_worker(process_result = hook)]
fn work() -> u32 {
    1
}

fn main() {
    let worker = work();
    worker.start();
}
