//! A program that takes arguments, one of which it insists on: its workers have none of them.

use clap::Parser;

/// Greets, from a worker process.
#[derive(Parser)]
struct Args {
    /// Who is greeted.
    name: String,
    /// How often.
    #[arg(long, default_value_t = 1)]
    times: usize,
}

/// Says also what arguments there are where it runs.
#[atasker::background_task(tt = "mp")]
fn greeting(name: &str) -> (String, Vec<String>) {
    (format!("hello {name}"), std::env::args().collect())
}

#[atasker::main]
fn main() {
    let args = Args::parse();
    for _ in 0..args.times {
        let (text, args) = greeting(&args.name).join().expect("it is greeted");
        println!("{text}, from {args:?}");
    }
}
