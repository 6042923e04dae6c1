use atasker::background_worker;

#[background_worker(event, tt = "mp")]
fn work(text: &'static str) {
    let _ = text;
}

fn main() {
    work("x").trigger();
}
