//! A small service, and how it ends in order.
//!
//! ```text
//! cargo run --release --example service -- 127.0.0.1:4040
//! printf '1000000\n' | nc 127.0.0.1 4040
//! ```
//!
//! Whoever connects sends numbers, one to a line; the answer is how many primes there are below. Each
//! connection is a task on a thread (`serve`), each question one in a worker process
//! (`count_primes`).
//!
//! SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal is closed) end it: no new tasks, those that wait
//! are canceled, those that run are asked to stop and have ten seconds for it. The exit code is 1 if
//! some had to be left behind. A second Ctrl-C does not wait for anything.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use atasker::{StopOptions, StopReport, Supervisor, TaskContext, background_task, supervisor};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// So long may tasks take that were asked to stop.
const GRACE: Duration = Duration::from_secs(10);
/// So often a connection on which nothing comes looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);

fn main() -> io::Result<ExitCode> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4040".into());
    let listener = TcpListener::bind(address)?;
    let sup = supervisor();
    let stopper = stop_at_signals(sup)?;
    say(&format!("listening on {}, process {}", listener.local_addr()?, std::process::id()));
    // It ends with the program: what it launches after the stop ends at once.
    std::thread::spawn(move || accept(&listener));

    sup.block();
    let report = stopper.join().expect("it does not panic");
    let StopReport { completed, canceled, abandoned } = report;
    say(&format!("ended: {completed} completed, {canceled} canceled, {abandoned} abandoned"));
    Ok(ExitCode::from(u8::from(abandoned > 0)))
}

/// A thread that waits for a signal and then stops the supervisor. Worker processes stand in process
/// groups of their own: what a terminal sends reaches this process alone.
fn stop_at_signals(sup: &Supervisor) -> io::Result<std::thread::JoinHandle<StopReport>> {
    // A second Ctrl-C ends the program; not a second SIGHUP, for terminals and shells often send
    // two. In this order: the first one finds the flag down.
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupted))?;
    signal_hook::flag::register(SIGINT, interrupted)?;

    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let sup = sup.clone();
    Ok(std::thread::spawn(move || {
        let signal = signals.forever().next().expect("there is one at the end of waiting");
        say(&format!("signal {signal}: ending"));
        sup.stop(StopOptions::new().wait(GRACE).cancel_tasks(true))
    }))
}

/// To the terminal, if it is still there: `eprintln!` would panic after a SIGHUP.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "service: {line}");
}

fn accept(listener: &TcpListener) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(serve(stream)),
            Err(error) => {
                say(&format!("no connection: {error}"));
                // Too many open files, say: some may be closed in a moment.
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// One connection, to its end.
#[background_task(callback = |end| if let Ok(Err(error)) = end { say(&format!("lost: {error}")) })]
fn serve(ctx: &TaskContext, stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut line = String::new();
    while !ctx.stopped() {
        match reader.read_line(&mut line) {
            Ok(0) => break,
            Ok(_) => {
                writeln!(writer, "{}", answer(line.trim()))?;
                line.clear();
            }
            // What has come of the line stays in it.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn answer(question: &str) -> String {
    let Ok(upto) = question.parse() else {
        return "not a number".into();
    };
    match count_primes(upto).join() {
        Ok(Some(primes)) => primes.to_string(),
        Ok(None) => "not now: the service ends".into(),
        Err(error) if error.is_canceled() => "not now: the service ends".into(),
        // It takes too long, or the worker process was killed: the service goes on.
        Err(error) => error.to_string(),
    }
}

/// `None`: it was asked to stop before its end.
#[background_task(tt = "mp", timeout = "30s")]
fn count_primes(ctx: &TaskContext, upto: u64) -> Option<u64> {
    let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    let mut primes = 0;
    let mut from = 2;
    while from < upto && !ctx.stopped() {
        let to = upto.min(from + 10_000);
        primes += (from..to).filter(is_prime).count() as u64;
        from = to;
    }
    (from >= upto).then_some(primes)
}
