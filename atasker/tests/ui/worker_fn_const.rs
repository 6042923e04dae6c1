use atasker::background_worker;

#[background_worker(event)]
const fn work() {}

fn main() {
    work().trigger();
}
