use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

#[collect(STARTUP)]
struct Load;

fn main() {
    STARTUP.execute();
}
