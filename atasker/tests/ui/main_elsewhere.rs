#[atasker::main]
fn start() {}

fn main() {
    start();
}
