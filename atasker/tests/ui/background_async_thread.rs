use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {
    let task = background!(async { 1 }, tt = "thread");
    let _: u32 = task.join().unwrap();
}
