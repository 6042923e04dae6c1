//! Background tasks: one attribute, one typed handle, and the place where a function runs is one
//! word.
//!
//! ```
//! use atasker::{background_task, wait_completed};
//! use std::time::Duration;
//!
//! /// Runs on a pool thread.
//! #[background_task]
//! fn greet(name: String) -> String {
//!     format!("hello {name}")
//! }
//!
//! /// Runs in a worker process: a re-exec'd copy of this program.
//! # #[cfg(feature = "mp")]
//! #[background_task(priority = "low", tt = "mp")]
//! fn count_primes(upto: u64) -> u64 {
//!     (2..upto).filter(|n| (2..*n).all(|d| n % d != 0)).count() as u64
//! }
//! # #[cfg(not(feature = "mp"))]
//! # #[background_task]
//! # fn count_primes(_upto: u64) -> u64 { 168 }
//!
//! /// An async fn runs on an aloop, a tokio runtime on a thread of its own.
//! # #[cfg(feature = "async")]
//! #[background_task]
//! async fn fetch(id: u32) -> Result<String, std::io::Error> {
//!     Ok(format!("page {id}"))
//! }
//! # #[cfg(not(feature = "async"))]
//! # #[background_task]
//! # fn fetch(id: u32) -> Result<String, std::io::Error> { Ok(format!("page {id}")) }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (greeting, primes, page) = wait_completed!(
//!     greet("world".into()),
//!     count_primes(1_000),
//!     fetch(7),
//!     timeout = Duration::from_secs(30)
//! )?;
//! assert_eq!((greeting.as_str(), primes, page?.as_str()), ("hello world", 168, "page 7"));
//! # Ok(()) }
//! ```
//!
//! # Tasks
//!
//! [`background_task`] turns a function into a *launcher*: calling it queues the function and
//! returns a [`Task`], the one typed owner of the result. A `Task` can be waited for
//! ([`wait`](Task::wait), [`join`](Task::join), `.await`, [`wait_completed!`]), asked to
//! [`stop`](Task::stop), [canceled](Task::cancel), [killed](Task::kill), and talked to while it runs
//! ([`TaskContext`]). Dropping it lets the task go on. [`background!`] does the same for closures,
//! futures and functions without the attribute, [`TaskBuilder`] without any macro.
//!
//! | | `thread` | `async` | `mp` |
//! |---|---|---|---|
//! | runs on | a pool thread | an aloop | a worker process |
//! | takes turns by priority, with slots | yes | starts at once | yes |
//! | `stop()`, messages, progress | yes | yes | yes |
//! | `kill()` of a running one | no | at its next await | yes, with all that it started |
//! | a time limit | asks it to stop; the handle ends at once | drops it | kills the worker process |
//! | a crash (SIGSEGV, `exit`, out of memory) | ends the program | ends the program | costs this task |
//! | parameters | anything `Send + 'static` | likewise | serde types, also borrowed |
//!
//! # Background workers
//!
//! [`background_worker`] turns a function into the constructor of something that makes tasks again and
//! again: in a loop, at an interval, for every item of a queue, or when it is triggered
//! ([`LoopWorker`], [`IntervalWorker`], [`QueueWorker`], [`EventWorker`]). [`WorkerBuilder`] makes them
//! of closures. Their functions run in any of the three places. They stop with their supervisor.
//!
//! # Priorities and slots
//!
//! A [`Supervisor`] owns a thread pool, a pool of worker processes and aloops. Each pool has slots for
//! all, and may hold some in reserve for tasks of [normal](Priority::Normal) and of
//! [high](Priority::High) priority; [critical](Priority::Critical) ones start at once. See
//! [`PoolConfig`] for the exact rule. A task that waits for another gives its slot up meanwhile, so
//! tasks may wait for tasks at any depth.
//!
//! # Worker processes
//!
//! A worker process is a copy of the running executable. With the feature `pre-main`, which is on by
//! default, it is recognised before `main` runs; without it, put `#[atasker::main]` on `main`, or call
//! [`init`] in its first line. **A worker process has nothing of what `main` set up**: no values of
//! statics, no logger, no arguments. Give tasks what they need as parameters, or all workers
//! the same value by [`MpPoolConfig::worker_data`]. Events of `tracing` inside a worker reach the
//! subscriber of the program itself. Worker processes need Linux.
//!
//! # Ending in order
//!
//! When `main` returns, what is unfinished is lost: `#[atasker::main(drain = "10s")]` lets it end
//! first. A service ends when it is told to, by SIGTERM, by SIGINT (Ctrl-C) or by SIGHUP (its terminal
//! is closed). Worker processes stand in process groups of their own, so a terminal's signals reach the
//! program alone, and it is the program that says what becomes of the tasks. atasker installs no
//! handlers for that; here signal-hook does:
//!
//! ```
//! use std::time::Duration;
//!
//! use atasker::{StopOptions, TaskContext, background_task, supervisor};
//! use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
//! use signal_hook::iterator::Signals;
//!
//! #[background_task]
//! fn works(ctx: &TaskContext) -> u32 {
//!     let mut turns = 0;
//!     while !ctx.wait_stop(Duration::from_millis(100)) {
//!         turns += 1;
//!     }
//!     turns
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
//! let stopper = std::thread::spawn(move || {
//!     signals.forever().next();
//!     // Tasks that wait are canceled; those that run are asked to stop, and have ten seconds.
//!     supervisor().stop(StopOptions::new().wait(Duration::from_secs(10)).cancel_tasks(true))
//! });
//! let task = works();
//! # signal_hook::low_level::raise(SIGTERM)?;
//!
//! supervisor().block(); // until it is stopped
//! let report = stopper.join().unwrap();
//! println!("{} completed, {} abandoned", report.completed, report.abandoned);
//! # assert_eq!((report.completed, report.abandoned), (1, 0));
//! # assert!(task.join().is_ok());
//! # Ok(()) }
//! ```
//!
//! In a tokio program no thread is needed:
//!
//! ```
//! use std::time::Duration;
//!
//! use atasker::{StopOptions, supervisor};
//! use tokio::signal::unix::{SignalKind, signal};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> std::io::Result<()> {
//!     let mut terminate = signal(SignalKind::terminate())?;
//!     let mut interrupt = signal(SignalKind::interrupt())?;
//!     let mut hang_up = signal(SignalKind::hangup())?;
//!     supervisor().start();
//! #   signal_hook::low_level::raise(signal_hook::consts::SIGHUP)?;
//!     tokio::select! {
//!         _ = terminate.recv() => {}
//!         _ = interrupt.recv() => {}
//!         _ = hang_up.recv() => {}
//!     }
//!     let options = StopOptions::new().wait(Duration::from_secs(10)).cancel_tasks(true);
//!     let report = supervisor().stop_async(options).await;
//!     println!("{} completed, {} abandoned", report.completed, report.abandoned);
//!     Ok(())
//! }
//! ```
//!
//! After a SIGHUP the terminal is gone, and `println!` panics. Worker processes that write there fail
//! likewise; with [`WorkerStdio::Log`] or `Null` they don't.
//!
//! # Errors
//!
//! A launch never fails and never panics: whatever goes wrong is the [`TaskError`] of its task. An
//! `Err` that the function itself returns is a result.
//!
//! # Features
//!
//! * `async` (default): async tasks and aloops. Brings tokio.
//! * `mp` (default): worker processes. Brings serde's bincode and msgpack.
//! * `pre-main` (default): worker processes without any set-up.
//! * `redis`: tasks that are fed from Redis, see [`compat`]. Brings `async`.

#[doc(inline)]
pub use atasker_macros::{
    background, background_task, background_worker, collect, collection, main,
};
#[doc(inline)]
pub use atasker_runtime::*;

/// What generated code uses. Not for anybody else: it changes with every version.
#[doc(hidden)]
pub mod __private {
    pub use atasker_runtime::private::*;
}

#[cfg(all(doctest, feature = "mp", feature = "async"))]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "mp", feature = "async"))]
#[doc = include_str!("../../docs/from-python.md")]
struct FromPython;
