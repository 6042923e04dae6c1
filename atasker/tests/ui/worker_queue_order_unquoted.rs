use atasker::background_worker;

#[background_worker(queue = priority)]
fn work(item: u32) {
    let _ = item;
}

fn main() {
    let _ = work();
}
