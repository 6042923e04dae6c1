use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

#[collect(STARTUP)]
fn load(n: i32) -> i32 {
    n
}

fn main() {
    STARTUP.execute();
}
