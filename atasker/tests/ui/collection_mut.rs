use atasker::{TaskCollection, collection};

collection!(static mut STARTUP: TaskCollection<i32>);

fn main() {}
