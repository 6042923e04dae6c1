use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

struct Half(u32);

fn half(half: Half) -> u32 {
    half.0
}

fn main() {
    let task = background!(half(Half(1)), retries = 1);
    let _: u32 = task.join().unwrap();
}
