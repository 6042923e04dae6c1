use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

struct Half(u32);

fn half(n: u32) -> Half {
    Half(n)
}

fn main() {
    let task = background!(half(1), tt = "mp");
    let _: Half = task.join().unwrap();
}
