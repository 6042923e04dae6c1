use atasker::background_worker;

#[background_worker(event, tt = "mp")]
fn work() -> u32 {
    1
}

fn main() {
    work().trigger();
}
