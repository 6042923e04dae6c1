#[atasker::main(drain = 10)]
fn main() {}
