use atasker::background_worker;

#[background_worker(queue, interval = "1s")]
fn work(item: u32) {
    let _ = item;
}

fn main() {
    let worker = work();
    worker.put(1).unwrap();
}
