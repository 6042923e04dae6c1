use atasker::background_worker;

#[background_worker(queue)]
fn work(item: Option<&str>, next: u8, rest: Vec<u8>) {
    let _ = (item, next, rest);
}

fn main() {
    let worker = work(1, vec![]);
    worker.put(None).unwrap();
}
