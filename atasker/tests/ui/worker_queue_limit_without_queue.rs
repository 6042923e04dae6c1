use atasker::background_worker;

#[background_worker(queue_limit = 3)]
fn work(item: u32) {
    let _ = item;
}

fn main() {
    let worker = work();
    worker.start();
}
