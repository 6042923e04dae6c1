#[atasker::main]
async fn main() {}
