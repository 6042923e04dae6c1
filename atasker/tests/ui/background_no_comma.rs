use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {
    let task = background!(work(1, 2) priority = "low");
    let _: u32 = task.join().unwrap();
}
