use atasker::background_task;

#[background_task(tt = "remote")]
fn work(n: u32) -> Result<u32, std::io::Error> {
    Ok(n)
}

fn main() {
    let _ = work(1).join().unwrap();
}
