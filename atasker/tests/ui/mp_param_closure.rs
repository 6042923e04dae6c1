use atasker::background_task;

#[background_task(tt = "mp")]
fn work(f: Box<dyn Fn() -> u32 + Send>) -> u32 {
    f()
}

fn main() {
    let _: u32 = work(Box::new(|| 1)).join().unwrap();
}
