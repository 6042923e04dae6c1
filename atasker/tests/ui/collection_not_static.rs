use atasker::collection;

collection!(pub STARTUP: TaskCollection<i32>);

fn main() {}
