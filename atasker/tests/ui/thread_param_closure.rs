use atasker::background_task;

#[background_task]
fn work(f: Box<dyn Fn() -> u32>) -> u32 {
    f()
}

fn main() {
    let _: u32 = work(Box::new(|| 1)).join().unwrap();
}
