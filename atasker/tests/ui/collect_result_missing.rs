use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

#[collect(STARTUP)]
fn load() {}

fn main() {
    STARTUP.execute();
}
