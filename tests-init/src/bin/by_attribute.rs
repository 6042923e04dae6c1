//! A program with the attribute on `main`.

#[atasker::main]
fn main() {
    println!("main");
    atasker_tests_init::report();
}
