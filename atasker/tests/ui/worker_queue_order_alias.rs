use atasker::background_worker;

#[background_worker(queue = "sorted")]
fn work(item: u32) {
    let _ = item;
}

fn main() {
    let _ = work();
}
