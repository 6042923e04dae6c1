use atasker::background_worker;

#[background_worker(event)]
fn work(f: &(dyn Fn() + Send + Sync)) {
    f();
}

fn main() {
    let _ = work;
}
