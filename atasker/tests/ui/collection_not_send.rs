use atasker::{TaskCollection, collection};

collection!(static STARTUP: TaskCollection<std::rc::Rc<i32>>);

fn main() {}
