//! A small service with a graceful shutdown.
//!
//! ```text
//! cargo run --release --example service -- 127.0.0.1:4040
//! printf '1000000\n' | nc 127.0.0.1 4040
//! ```
//!
//! A client sends numbers, one per line; the service replies with the number of primes below each.
//! Each connection is a task on a thread (`serve`), each question a task in a worker process
//! (`count_primes`).
//!
//! SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal is closed) shut the service down: no new tasks
//! are accepted, queued tasks are canceled, running tasks are asked to stop and have ten seconds
//! for it. The exit code is 1 if some had to be abandoned. A second Ctrl-C ends the program
//! immediately.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use atasker::{StopOptions, StopReport, Supervisor, TaskContext, background_task, supervisor};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long tasks may take after a stop request.
const GRACE: Duration = Duration::from_secs(10);
/// How often an idle connection checks for a stop request.
const LOOK: Duration = Duration::from_millis(200);

fn main() -> io::Result<ExitCode> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4040".into());
    let listener = TcpListener::bind(address)?;
    let sup = supervisor();
    let stopper = stop_at_signals(sup)?;
    say(&format!("listening on {}, process {}", listener.local_addr()?, std::process::id()));
    // Ends with the program: tasks that it launches after the stop end immediately.
    std::thread::spawn(move || accept(&listener));

    sup.block();
    let report = stopper.join().expect("the stopper does not panic");
    let StopReport { completed, canceled, abandoned } = report;
    say(&format!("ended: {completed} completed, {canceled} canceled, {abandoned} abandoned"));
    Ok(ExitCode::from(u8::from(abandoned > 0)))
}

/// Starts a thread that waits for a signal and then stops the supervisor. Worker processes have
/// separate process groups, so signals of the terminal reach only this process.
fn stop_at_signals(sup: &Supervisor) -> io::Result<std::thread::JoinHandle<StopReport>> {
    // A second Ctrl-C ends the program, but not a second SIGHUP, because terminals and shells often
    // send two. The order matters: at the first signal the flag must not be set.
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupted))?;
    signal_hook::flag::register(SIGINT, interrupted)?;

    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let sup = sup.clone();
    Ok(std::thread::spawn(move || {
        let signal = signals.forever().next().expect("the iterator waits for a signal");
        say(&format!("signal {signal}: ending"));
        sup.stop(StopOptions::new().wait(GRACE).cancel_tasks(true))
    }))
}

/// Writes to the terminal if it still exists: `eprintln!` would panic after a SIGHUP.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "service: {line}");
}

fn accept(listener: &TcpListener) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(serve(stream)),
            Err(error) => {
                say(&format!("no connection: {error}"));
                // For example "Too many open files": some may be closed soon.
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// Serves one connection until it ends.
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
            // The partial line stays in the buffer.
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
        Ok(None) => "unavailable: the service is shutting down".into(),
        Err(error) if error.is_canceled() => "unavailable: the service is shutting down".into(),
        // Timed out, or the worker process was killed: the service continues.
        Err(error) => error.to_string(),
    }
}

/// Returns `None` if a stop was requested before the result was complete.
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
