use atasker::background_worker;

#[background_worker(queue)]
fn work(item: &str) {
    let _ = item.len();
}

fn main() {
    let worker = work();
    worker.start();
}
