use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

#[collect(STARTUP, crate = "atasker")]
fn load() -> i32 {
    1
}

fn main() {
    STARTUP.execute();
}
