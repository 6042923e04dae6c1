use atasker::background_worker;

#[background_worker(event)]
async fn work<T: Clone + 'static>(n: u32, value: T) {
    let _ = (n, value);
}

fn main() {
    work(1, 'x').trigger();
}
