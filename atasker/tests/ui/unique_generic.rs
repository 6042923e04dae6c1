use atasker::background_task;

#[background_task(unique = (value))]
fn work<T: Clone + Send + 'static>(value: T) -> T {
    value
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
