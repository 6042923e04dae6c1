//! A program that has forgotten both.

fn main() {
    println!("main");
    atasker_tests_init::report();
}
