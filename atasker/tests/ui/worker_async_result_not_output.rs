use atasker::background_worker;

#[background_worker(event)]
async fn work() -> Option<u32> {
    None
}

fn main() {
    work().trigger();
}
