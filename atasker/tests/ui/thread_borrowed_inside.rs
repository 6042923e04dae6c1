use atasker::background_task;

#[background_task]
fn work(n: Option<&'static str>, m: std::borrow::Cow<'_, str>) -> u32 {
    (n.map_or(0, str::len) + m.len()) as u32
}

fn main() {
    let _: u32 = work(None, "".into()).join().unwrap();
}
