use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

#[collect(STARTUP)]
fn load() -> String {
    String::new()
}

fn main() {
    STARTUP.execute();
}
