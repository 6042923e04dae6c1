use atasker::background_task;

#[background_task(tt = "mp")]
fn work(text: Option<&str>) -> u32 {
    text.map_or(0, str::len) as u32
}

fn main() {
    let _: u32 = work(None).join().unwrap();
}
