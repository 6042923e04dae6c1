//! A program that calls `init()` in the first line of `main`.

fn main() {
    atasker::init();
    println!("main");
    atasker_tests_init::report();
}
