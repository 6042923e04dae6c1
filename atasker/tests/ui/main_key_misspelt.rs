#[atasker::main(darin = "10s")]
fn main() {}
