use atasker::background_worker;

#[background_worker(queue)]
fn work(item: impl ToString + Send + 'static) {
    let _ = item.to_string();
}

fn main() {
    let _ = work;
}
