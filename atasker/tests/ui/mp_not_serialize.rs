use atasker::background_task;
#[derive(serde::Deserialize)]
struct Half(u32);

#[background_task(tt = "mp")]
fn work(n: u32, half: &Half) -> u32 {
    n + half.0
}

fn main() {
    let _: u32 = work(1, &Half(1)).join().unwrap();
}
