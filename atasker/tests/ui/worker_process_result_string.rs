use atasker::background_worker;

#[background_worker(process_result = "hook")]
fn work() -> u32 {
    1
}

fn main() {
    let worker = work();
    worker.start();
}
