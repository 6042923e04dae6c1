#[atasker::main(drain = "1s", drain = "2s")]
fn main() {}
