use atasker::background_worker;
#[derive(serde::Deserialize)]
struct Half(u32);

#[background_worker(queue, tt = "mp")]
fn work(item: Half) {
    let _ = item.0;
}

fn main() {
    let worker = work();
    worker.put(Half(1)).unwrap();
}
