use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {
    let x = 1u32;
    let task = background!(x.max(2));
    let _: u32 = task.join().unwrap();
}
