use atasker::background_worker;
#[derive(serde::Deserialize)]
struct Half(u32);

#[background_worker(event, tt = "mp")]
fn work(n: u32, half: &Half) {
    let _ = n + half.0;
}

fn main() {
    work(1, Half(1)).trigger();
}
