//! A program with a required argument, which its worker processes do not have.

use clap::Parser;

/// Greets, from a worker process.
#[derive(Parser)]
struct Args {
    /// Who to greet.
    name: String,
    /// How often.
    #[arg(long, default_value_t = 1)]
    times: usize,
}

/// Also returns the arguments of the process that runs it.
#[atasker::background_task(tt = "mp")]
fn greeting(name: &str) -> (String, Vec<String>) {
    (format!("hello {name}"), std::env::args().collect())
}

#[atasker::main]
fn main() {
    let args = Args::parse();
    for _ in 0..args.times {
        let (text, args) = greeting(&args.name).join().expect("the task completes");
        println!("{text}, from {args:?}");
    }
}
