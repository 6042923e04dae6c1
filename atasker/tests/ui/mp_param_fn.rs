use atasker::background_task;

#[background_task(tt = "mp")]
fn work(f: fn() -> u32) -> u32 {
    f()
}

fn main() {
    let _: u32 = work(|| 1).join().unwrap();
}
