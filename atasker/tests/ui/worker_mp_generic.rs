use atasker::background_worker;

#[background_worker(queue, tt = "mp")]
fn work<T: ToString + Send + 'static>(item: T) {
    let _ = item.to_string();
}

fn main() {
    let worker = work::<u32>();
    worker.start();
}
