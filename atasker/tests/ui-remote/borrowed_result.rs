use atasker::background_task;

#[background_task(tt = "remote")]
fn work(n: &str) -> &str {
    n
}

fn main() {
    let _ = work("a").join().unwrap();
}
