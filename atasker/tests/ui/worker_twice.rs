use atasker::background_worker;

#[background_worker(event)]
#[background_worker(priority = "low")]
fn work() {}

fn main() {
    work().trigger();
}
