use atasker::background;

fn work(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {
    let x = 1;
    let task = background!(|| format!("{}", x).len() as u32, tt = "mp");
    let _: u32 = task.join().unwrap();
}
