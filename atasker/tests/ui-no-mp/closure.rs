use atasker::background;

fn main() {
    let task = background!(|| 1 + 1, tt = "mp");
    let _: u32 = task.join().unwrap();
}
