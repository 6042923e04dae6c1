use atasker::background_task;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Mode {
    #[serde(skip)]
    key: Key,
}

#[derive(Default)]
struct Key(u32);

#[background_task(tt = "remote", unique = (path, mode.key))]
fn work(path: &str, mode: Mode) -> u32 {
    path.len() as u32 + mode.key.0
}

fn main() {
    let _: u32 = work("a", Mode { key: Key(1) }).join().unwrap();
}
