use atasker::background_task;
#[derive(serde::Serialize)]
struct Half(u32);

#[background_task(tt = "mp")]
fn work(half: Half) -> u32 {
    half.0
}

fn main() {
    let _: u32 = work(Half(1)).join().unwrap();
}
