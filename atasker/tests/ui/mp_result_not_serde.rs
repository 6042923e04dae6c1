use atasker::background_task;
#[derive(serde::Deserialize)]
struct Half(u32);

#[background_task(tt = "mp")]
fn work(n: u32) -> Option<Half> {
    Some(Half(n))
}

fn main() {
    let _: u32 = work(1).join().unwrap().unwrap().0;
}
