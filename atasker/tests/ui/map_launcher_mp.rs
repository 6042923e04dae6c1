use atasker::{background_task, map};

#[background_task]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    map!(0..10, work, tt = "mp");
}
