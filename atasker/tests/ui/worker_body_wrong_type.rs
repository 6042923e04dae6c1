use atasker::background_worker;

#[background_worker(event)]
fn work(n: u32) -> bool {
    n
}

fn main() {
    work(1).trigger();
}
