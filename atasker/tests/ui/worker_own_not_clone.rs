use atasker::background_worker;
struct Once(u32);

#[background_worker(event)]
fn work(n: u32, once: Once) {
    let _ = n + once.0;
}

fn main() {
    work(1, Once(1)).trigger();
}
