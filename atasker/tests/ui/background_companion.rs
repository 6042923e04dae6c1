use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {
    let task = background!(work(1, 2), companion = false);
    let _: u32 = task.join().unwrap();
}
