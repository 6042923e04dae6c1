use atasker::background_task;

#[background_task(tt = "mp")]
fn work(text: &str) -> &str {
    text
}

fn main() {
    let _: u32 = work("x").join().unwrap().len() as u32;
}
