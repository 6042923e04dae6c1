use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {
    let y = 1;
    let add = |x| x + y;
    let task = background!(|| Some(1).map(add).unwrap(), tt = "mp");
    let _: u32 = task.join().unwrap();
}
