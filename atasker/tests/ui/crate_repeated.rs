use atasker::background_task;

#[background_task(crate = ::atasker, crate = ::atasker)]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
