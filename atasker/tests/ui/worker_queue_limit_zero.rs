use atasker::background_worker;

#[background_worker(queue, queue_limit = 0)]
fn work(item: u32) {
    let _ = item;
}

fn main() {
    let worker = work();
    worker.put(1).unwrap();
}
