use atasker::background_worker;

#[background_worker(event)]
unsafe fn work() {}

fn main() {
    work().trigger();
}
