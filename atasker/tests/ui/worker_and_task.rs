use atasker::background_worker;

#[background_worker(event)]
#[atasker::background_task]
fn work() {}

fn main() {
    work().trigger();
}
