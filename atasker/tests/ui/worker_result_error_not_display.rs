use atasker::background_worker;
struct Wrong;

#[background_worker(event)]
fn work() -> Result<(), Wrong> {
    Err(Wrong)
}

fn main() {
    work().trigger();
}
