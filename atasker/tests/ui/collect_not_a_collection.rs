use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

static NUMBER: i32 = 1;

#[collect(NUMBER)]
fn load() -> i32 {
    1
}

fn main() {
    STARTUP.execute();
}
