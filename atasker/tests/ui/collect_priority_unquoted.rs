use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

#[collect(STARTUP, priority = high)]
fn load() -> i32 {
    1
}

fn main() {
    STARTUP.execute();
}
