use atasker::background_worker;

#[background_worker(event)]
fn work<T: Clone + Send>(value: T) {
    let _ = value;
}

fn main() {
    work('x').trigger();
}
