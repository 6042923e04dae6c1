use atasker::background_task;

#[background_task]
fn work(text: &str) -> u32 {
    text.len() as u32
}

fn main() {
    let _: u32 = work("x").join().unwrap();
}
