use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

#[collect(STARTUP, timeout = "5s")]
fn load() -> i32 {
    1
}

fn main() {
    STARTUP.execute();
}
