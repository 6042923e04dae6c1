use atasker::background;

fn work(a: u32, text: &str) -> u32 {
    a + text.len() as u32
}

fn main() {
    let task = background!(work(1, "a"), tt = "mp", priority = "low");
    let _: u32 = task.join().unwrap();
}
