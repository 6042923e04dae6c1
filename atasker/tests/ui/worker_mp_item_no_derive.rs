use atasker::background_worker;
struct Item(u32);

#[background_worker(queue, tt = "mp")]
fn work(item: Item) {
    let _ = item.0;
}

fn main() {
    let worker = work();
    worker.put(Item(1)).unwrap();
}
