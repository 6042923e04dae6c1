use atasker::{TaskCollection, collection};

collection!(static STARTUP: TaskCollection<i32>, crate = "atasker");

fn main() {}
