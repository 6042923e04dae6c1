use atasker::collection;

collection!();

fn main() {}
