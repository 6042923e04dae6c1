use atasker::background_worker;

#[background_worker(priority = high, event)]
fn work() {}

fn main() {
    work().trigger();
}
