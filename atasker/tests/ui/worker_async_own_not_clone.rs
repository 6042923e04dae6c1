use atasker::background_worker;
struct Once(u32);

#[background_worker(event)]
async fn work(once: Once) {
    let _ = once.0;
}

fn main() {
    work(Once(1)).trigger();
}
