use atasker::background_task;

#[background_task(tt = "remote")]
fn work(n: &'static str) -> usize {
    n.len()
}

fn main() {
    let _: usize = work("a").join().unwrap();
}
