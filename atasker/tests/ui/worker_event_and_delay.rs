use atasker::background_worker;

#[background_worker(delay = "1s", event)]
fn work() {}

fn main() {
    work().trigger();
}
