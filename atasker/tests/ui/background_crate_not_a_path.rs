use atasker::background;

fn work(a: u32) -> u32 {
    a
}

fn main() {
    let task = background!(work(1), crate = 1);
    let _: u32 = task.join().unwrap();
}
