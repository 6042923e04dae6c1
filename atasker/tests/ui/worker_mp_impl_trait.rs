use atasker::background_worker;

#[background_worker(event, tt = "mp")]
fn work(value: impl ToString) {
    let _ = value.to_string();
}

fn main() {
    work(1).trigger();
}
