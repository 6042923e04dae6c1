use std::error::Error;
use atasker::background_task;

#[background_task]
fn work(n: u32) -> Result<u32, Box<dyn Error>> {
    Ok(n)
}

fn main() {
    let n = work(1).join().unwrap().unwrap();
    println!("{n}");
}
