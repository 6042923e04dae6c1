use atasker::background_task;
use std::error::Error;

#[background_task(tt = "mp")]
fn work(n: u32) -> Result<u32, Box<dyn Error>> {
    Ok(n)
}

fn main() {
    let _ = work(1).join().unwrap();
}
