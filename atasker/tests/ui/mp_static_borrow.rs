use atasker::background_task;

#[background_task(tt = "mp")]
fn work(text: &'static str) -> u32 {
    text.len() as u32
}

fn main() {
    let _: u32 = work("x").join().unwrap();
}
