//! A command-line program: BLAKE3 checksums of files, as `b3sum` prints them.
//!
//! ```text
//! cargo run --release --example cli -- --jobs 4 Cargo.toml README.md
//! ```
//!
//! Each file is a task on a thread (`checksum`), and `--jobs` is the size of the thread pool. A
//! checksum is printed as soon as it is complete. If stderr is a terminal, it shows a progress bar.
//!
//! At the first Ctrl-C, no further file is begun, and the tasks that run are asked to stop. The
//! second Ctrl-C ends the program at once. The exit code is 1 if a file can't be read, and 130 after
//! a Ctrl-C.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use atasker::progress::multi;
use atasker::{PoolConfig, StopOptions, TaskContext, background_task, bounded, supervisor};
use blake3::{Hash, Hasher};
use clap::Parser;

/// How long tasks may take after the first Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);
/// Between two pieces of this size, a task notices a stop request.
const PIECE: usize = 1 << 18;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Prints BLAKE3 checksums of files, in the order in which they are complete.
#[derive(Parser)]
#[command(name = "cli")]
struct Args {
    /// How many files are read at once
    #[arg(short, long, value_name = "N", default_value_t = cpus())]
    jobs: NonZeroUsize,

    /// The files to read
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Args { jobs, files } = Args::parse();
    supervisor().set_thread_pool(PoolConfig::new(jobs.get()));
    ctrlc::set_handler(interrupt)?;

    // Enough tasks in flight to keep the pool busy. The others are only paths.
    let tasks = files.iter().map(|file| checksum::builder(file.clone()));
    let outcomes = bounded(2 * jobs.get(), tasks).progress("hashing");
    let (mut complete, mut failed) = (0, 0);
    // After a stop, the remaining tasks end at once: queued ones are canceled, and later ones are
    // not accepted.
    for (index, outcome) in outcomes {
        let file = files[index].display();
        match outcome {
            Ok(Ok(Some(hash))) => {
                // While a bar is on the screen, other output would mix with it.
                multi().suspend(|| writeln!(io::stdout(), "{hash}  {file}"))?;
                complete += 1;
            }
            Ok(Err(error)) => {
                say(&format!("{file}: {error}"));
                failed += 1;
            }
            // Stopped in the middle of the file, or never begun.
            Ok(Ok(None)) | Err(_) if INTERRUPTED.load(Relaxed) => {}
            Ok(Ok(None)) => unreachable!("only Ctrl-C stops tasks"),
            Err(error) => {
                say(&format!("{file}: {error}"));
                failed += 1;
            }
        }
    }

    if INTERRUPTED.load(Relaxed) {
        say(&format!("interrupted: {complete} of {} files are complete", files.len()));
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Returns the checksum of a file, or `None` if a stop was requested.
#[background_task]
fn checksum(ctx: &TaskContext, path: PathBuf) -> io::Result<Option<Hash>> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    while !ctx.stopped() {
        match file.read(&mut piece)? {
            0 => return Ok(Some(hasher.finalize())),
            length => hasher.update(&piece[..length]),
        };
    }
    Ok(None)
}

/// Handles Ctrl-C, on a thread of the crate `ctrlc`.
fn interrupt() {
    if INTERRUPTED.swap(true, Relaxed) {
        std::process::exit(130);
    }
    say("stopping; press Ctrl-C again to end at once");
    // On another thread, because it blocks, and the second Ctrl-C is handled on this one.
    std::thread::spawn(|| {
        supervisor().stop(StopOptions::new().wait(GRACE).cancel_tasks(true));
    });
}

/// Writes a line to stderr, above the progress bar.
fn say(line: &str) {
    multi().suspend(|| eprintln!("cli: {line}"));
}
