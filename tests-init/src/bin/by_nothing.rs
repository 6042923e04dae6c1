//! A program without both.

fn main() {
    println!("main");
    atasker_tests_init::report();
}
