use atasker::background_task;

#[background_task(tt = "cluster")]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
