use atasker::{TaskCollection, collection};

collection!(static STARTUP: TaskCollection<i32> = TaskCollection::new());

fn main() {}
