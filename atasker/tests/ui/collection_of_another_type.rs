use atasker::collection;

collection!(static STARTUP: Vec<i32>);

fn main() {}
