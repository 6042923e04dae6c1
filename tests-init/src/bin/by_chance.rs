//! A program that calls `init` only in some of its runs, and not in that of a worker process.

fn main() {
    if !std::env::args().any(|arg| arg.contains("[atasker worker")) {
        atasker::init();
    }
    println!("main");
    atasker_tests_init::report();
}
