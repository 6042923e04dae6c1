#[atasker::main(crate = "atasker")]
fn main() {}
