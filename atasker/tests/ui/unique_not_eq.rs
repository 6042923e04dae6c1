use atasker::background_task;

#[background_task(unique = (n, weight))]
fn work(n: u32, weight: f64) -> u32 {
    n + weight as u32
}

fn main() {
    let _: u32 = work(1, 1.0).join().unwrap();
}
