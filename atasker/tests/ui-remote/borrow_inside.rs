use atasker::background_task;

#[background_task(tt = "remote")]
fn work(n: Option<&str>) -> bool {
    n.is_some()
}

fn main() {
    let _: bool = work(Some("a")).join().unwrap();
}
