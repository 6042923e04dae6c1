use atasker::{TaskCollection, collect, collection};

collection!(static STARTUP: TaskCollection<i32>);

#[collect(STARTUP)]
fn load<T: Default>() -> i32 {
    let _ = T::default();
    1
}

fn main() {
    STARTUP.execute();
}
