use atasker::background_worker;

#[background_worker(event = true)]
fn work() {}

fn main() {
    let _ = work();
}
