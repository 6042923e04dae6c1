use atasker::background_worker;

#[background_worker(event, crate = "other::atasker")]
fn work() {}

fn main() {
    work().start();
}
