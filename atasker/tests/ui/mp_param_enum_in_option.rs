use atasker::background_task;
enum Kind { A }

#[background_task(tt = "mp")]
fn work(n: u32, kind: Option<Kind>) -> u32 {
    n + kind.is_some() as u32
}

fn main() {
    let _: u32 = work(1, Some(Kind::A)).join().unwrap();
}
