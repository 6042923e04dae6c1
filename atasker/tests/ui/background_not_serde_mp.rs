use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

#[derive(serde::Serialize)]
struct Half(u32);

fn half(half: Half) -> u32 {
    half.0
}

fn main() {
    let task = background!(half(Half(1)), tt = "mp");
    let _: u32 = task.join().unwrap();
}
