use atasker::background_worker;

#[background_worker(event, unique_for = "5m")]
fn work(user_id: u32) {
    let _ = user_id;
}

fn main() {
    let worker = work(1);
    worker.start();
}
