use atasker::background_task;

/// As the crate of that name.
mod anyhow {
    #[derive(Debug)]
    pub struct Error;
    pub type Result<T, E = Error> = std::result::Result<T, E>;
}

#[background_task(tt = "mp")]
fn work(n: u32) -> anyhow::Result<u32> {
    Ok(n)
}

fn main() {
    let _: u32 = work(1).join().unwrap().unwrap();
}
