//! Background tasks on a thread pool, on async loops and in worker processes, behind one attribute
//! and one typed handle.
//!
//! A key of the attribute selects where a function runs. Stopping, messages, progress, priorities,
//! time limits, retries and errors work the same way in all three places.
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
//! /// An async fn runs on an aloop: a tokio runtime on a dedicated thread.
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
//! returns a [`Task`], the typed owner of the result. Through its handle, a task can be
//!
//! * waited for: [`wait`](Task::wait), [`join`](Task::join), `.await`, [`wait_completed!`];
//! * asked to [stop](Task::stop), [canceled](Task::cancel) or [killed](Task::kill);
//! * sent messages, and read from, while it runs: see [`TaskContext`].
//!
//! With the feature `progress`, waits and tasks show progress bars: `wait_completed!(tasks, progress =
//! "indexing")`, `task.show_progress("indexing")`.
//!
//! [`chain`](Task::chain) and [`try_chain`](Task::try_chain) launch a task that starts when another
//! one has ended well. [`as_completed`], [`bounded`], [`bounded_by`] and [`TaskSet`] return the
//! outcomes of many tasks in the order of their completion. For async code, the first three convert
//! into streams, and [`start_async`](TaskBuilder::start_async) launches without blocking.
//!
//! Dropping the handle detaches the task, which runs on. [`background!`] launches closures, futures
//! and functions without the attribute; [`TaskBuilder`] does so without any macro.
//!
//! | | `thread` | `async` | `mp` |
//! |---|---|---|---|
//! | runs on | a pool thread | an aloop | a worker process |
//! | queued by priority, limited by slots | yes | no, starts immediately | yes |
//! | `stop()`, messages, progress | yes | yes | yes |
//! | `kill()` while it runs | unsupported | at the next await | yes, with every process it started |
//! | time limit exceeded | asked to stop; the handle resolves immediately | dropped | worker process killed |
//! | crash (SIGSEGV, `exit`, out of memory) | ends the program | ends the program | fails this task only |
//! | parameters | `Send + 'static` | `Send + 'static` | serde types, owned or borrowed |
//!
//! # Background workers
//!
//! [`background_worker`] turns a function into the constructor of a background worker, which runs
//! the function repeatedly: in a loop ([`LoopWorker`]), at an interval ([`IntervalWorker`]), for
//! each item of a queue ([`QueueWorker`]) or when triggered ([`EventWorker`]). [`WorkerBuilder`]
//! builds workers from closures. The function can run in any of the three places. Background
//! workers stop with their supervisor.
//!
//! # Priorities and slots
//!
//! A [`Supervisor`] owns a thread pool, a pool of worker processes, and aloops. A task in a pool
//! holds a *slot* while it runs. Each pool has slots for every task and can reserve additional ones
//! for tasks of [normal](Priority::Normal) and [high](Priority::High) priority.
//! [Critical](Priority::Critical) tasks start immediately. [`PoolConfig`] states the exact rule. A
//! task that waits for another task releases its slot during the wait, so tasks can wait for tasks
//! at any depth without exhausting the pool.
//!
//! The configuration of a supervisor can be read from a file in any format of serde: see
//! [`SupervisorConfig`].
//!
//! # Worker processes
//!
//! A worker process is a copy of the running executable. With the feature `pre-main` (default), it
//! is recognized before `main` runs. Without that feature, put `#[atasker::main]` on `main`, or
//! call [`init`] in its first line. **A worker process sees nothing that `main` has set up**: no
//! values of statics, no logger, no command-line arguments. Pass tasks what they need as
//! parameters, or share one value with all workers through [`MpPoolConfig::worker_data`]. `tracing`
//! spans and events in a worker process reach the subscriber of the program: see
//! [Tracing in worker processes](#tracing-in-worker-processes).
//!
//! Worker processes require Linux. On other platforms the whole interface exists and everything
//! else works, but each use of `tt = "mp"` is a compile error. To choose by platform, write both
//! attributes:
//!
//! ```
//! # #[cfg(feature = "mp")] {
//! use atasker::background_task;
//!
//! #[cfg_attr(target_os = "linux", background_task(tt = "mp"))]
//! #[cfg_attr(not(target_os = "linux"), background_task)]
//! fn count(text: String) -> usize {
//!     text.split_whitespace().count()
//! }
//!
//! assert_eq!(count("one two".to_owned()).join().unwrap(), 2);
//! # }
//! ```
//!
//! # Events, spans and observers
//!
//! The library emits events of the crate `tracing` with the target `atasker`. Those of a task have
//! the fields `task`, `name`, `tt` and `supervisor`:
//!
//! | level | event | fields |
//! |---|---|---|
//! | TRACE | `task queued`, after its delay | |
//! | DEBUG | `task started` | `attempt` |
//! | DEBUG | `task retries` | `attempt`, `pause`, `error` |
//! | DEBUG | `task ended` | `outcome`, `error` |
//! | ERROR | `task ended`, with a [`TaskError`] other than `Canceled` and without a handle that could observe it | `outcome`, `error` |
//! | WARN | `task ended`, with an `Err` and without a handle | `outcome`, `error` |
//! | DEBUG | `worker process started`, `worker process ended` | `pid`, `number`, `supervisor` |
//! | WARN | `worker process died` | `pid`, `number`, `supervisor`, `cause` |
//!
//! A task runs inside the span that was current at its launch. With
//! [`SupervisorBuilder::spans`], each attempt has its own span. An [`Observer`] is called at each
//! stage of a task, of a worker process and of a background worker:
//!
//! ```
//! use atasker::{Observer, Supervisor, TaskError, TaskEvent};
//!
//! struct SlowTasks;
//!
//! impl Observer for SlowTasks {
//!     fn ended(&self, task: &TaskEvent<'_>, _: Result<(), &TaskError>) {
//!         if let Some(time) = task.ran_for().filter(|time| time.as_secs() >= 1) {
//!             eprintln!("{} ran for {time:?}", task.name());
//!         }
//!     }
//! }
//!
//! let sup = Supervisor::builder().build();
//! let _guard = sup.observe(SlowTasks);
//! assert_eq!(sup.spawn(|| 6 * 7).join().unwrap(), 42);
//! ```
//!
//! Metrics, progress bars and a dashboard are features: see [below](#features). What is not used
//! costs one load per stage of a task.
//!
//! # Tracing in worker processes
//!
//! Spans and events of the crate `tracing` that a task opens and emits in a worker process reach the
//! program's subscriber as children of the span that is current at the launch. The launch keeps that
//! span open until the task has ended, if a subscriber wants spans of the level INFO with the target
//! `atasker`. A task without such a span gives them no parent.
//!
//! ```
//! # #[cfg(feature = "mp")] {
//! use atasker::background_task;
//! use tracing::{info, info_span};
//!
//! #[background_task(tt = "mp")]
//! fn resize(image: String) {
//!     let _step = info_span!("decode", image).entered();
//!     info!(bytes = 4_096, "decoded");
//! }
//!
//! // Emits "decoded" inside of "decode" inside of "request".
//! let task = info_span!("request", id = 7).in_scope(|| resize("a.png".into()));
//! task.join().unwrap();
//! # }
//! ```
//!
//! * Name, level, target, module path, file, line and fields are those of the worker process.
//!   Integers (up to 128 bits), floats, booleans, strings and errors keep their types; all other
//!   values are sent as the text of their `Debug` implementation. Texts are truncated to 16 MiB.
//! * Events have two additional fields, unless they have fields of these names: `task`, the id of the
//!   task, and `worker`, the process id.
//! * Spans are opened, recorded and closed in the program, but not entered, because they run
//!   elsewhere. Formatters that list the spans which the emitting thread has entered (such as `spans`
//!   in the JSON format of `tracing-subscriber`), and filters that depend on them, do not see them;
//!   the parent of each span and event is set.
//! * What a task leaves open is closed before its handle resolves, also if its worker process dies.
//!   `Span::current()` in a task can be given to other threads of the worker process. Spans outside of
//!   any task (in `worker_init`, for example) have no parent in the program, and end at the latest
//!   with the worker process.
//! * The filters of the program apply. If all of them reject a place in the code whatever its fields
//!   are, the worker process does not even evaluate the fields there, from shortly after the first
//!   time on. A filter that is reloaded, and a subscriber that is installed later, reach running
//!   worker processes after some milliseconds.
//! * The subscriber of the span at the launch receives them; without such a span, the default
//!   subscriber of the program. It is called on the thread that reads from the worker process, before
//!   the task ends: while it blocks, that worker process completes no task. A panic of the subscriber
//!   is contained.
//! * The description of each place in the code is kept for the life of the program, for 10,000 places
//!   at most, and of 4 KiB each. Spans and events of other places are not forwarded. A worker process
//!   has at most 65,536 open spans in the program; what is opened and emitted inside of further ones
//!   belongs to their parents.
//! * A worker process that has a subscriber before (set by a static constructor, or by `worker_init`
//!   while the program has none) keeps it and forwards nothing. While the program has a subscriber,
//!   `worker_init` can't set one.
//!
//! With the feature `log`, records of the crate `log` in worker processes go to the program's logger,
//! inside of the span of the launch, if its maximum level permits them and its `enabled` accepts them.
//! With the crate `tracing-log` they become events. A new maximum level reaches a running worker
//! process with one of its next tasks. A logger that `worker_init` sets is kept, and then forwards
//! nothing; without one, records in `worker_init` are lost.
//!
//! # One version per program
//!
//! A program contains one version of atasker. Cargo rejects a second, incompatible one with an
//! error saying that both packages link to `atasker`. The reason: the functions that worker
//! processes can call are collected from the whole program into one table, and worker processes are
//! recognized by one marker, so each version would pick up the other's. A library with atasker in
//! its public interface re-exports it (see the key `crate` of
//! [`background_task`](macro@background_task)).
//!
//! A static constructor (code that runs before `main`) can launch tasks on threads and aloops.
//! Tasks for worker processes end with [`TaskError::NotStarted`] until atasker's own constructor
//! has run. Inside a worker process, where the program's constructors run as well, they always end
//! so.
//!
//! ## Trust boundaries
//!
//! A worker process isolates crashes. It is not a security boundary: it runs as the same user as
//! the program and can do to the program whatever that user can, such as writing to its memory
//! through `/proc/PID/mem`. Run untrusted code as another user, in a container or in a virtual
//! machine.
//!
//! A worker process accepts calls from its parent only: the kernel identifies the process that
//! created the socket at the worker's standard input, and that process must have the same user and
//! group, or be root. A program whose privileges the kernel has raised above those of its invoker
//! (setuid, setgid, file capabilities) is never a worker process and starts none; its tasks for
//! worker processes end with [`TaskError::NotStarted`]. Worker processes inherit the program's
//! environment. [`MpPoolConfig::dumpable`] makes a worker's memory inaccessible to other processes
//! of the same user and excludes it from core files. `SECURITY.md` in the repository has the
//! details and explains how to report a vulnerability.
//!
//! # Forks, threads and signals
//!
//! **Forks.** Calling `fork()` before the first use of atasker yields two independent programs. A
//! process forked afterwards has a single thread and none of the pools, loops and worker processes.
//! These stay with the original process and are not affected by the forked one. In a forked
//! process:
//!
//! | call | effect |
//! |---|---|
//! | any launch | the task ends immediately with [`TaskError::NotStarted`]; the text mentions the fork |
//! | `wait`, `join`, `.await` of a task that had not ended | returns the same error immediately |
//! | results of tasks that had ended | available; the same error if another thread is cloning the result |
//! | `execute` of a collection | runs nothing; the report's only entry, `*`, is the same error |
//! | `info`, `status`, `typed` | work; `progress` is `None` |
//! | [`worker_data`] | returns `None` |
//! | `send`, `recv`, `put` | return the error for a closed channel or a stopped worker |
//! | `stop`, `cancel`, `kill`, settings | no effect; `stop` of a [`Supervisor`] returns an empty report |
//! | `wait_stop`, `stop_requested` of a context | return immediately, `true`, as if a stop was requested |
//! | `Aloop::run`, `Supervisor::create_aloop` | panic with the same text |
//! | [`Locker::lock`](compat::Locker::lock) | fails immediately if another thread had the lock |
//! | dropping handles and supervisors, `exit()`, `_exit()`, `exec` | work, and do not affect the original |
//!
//! `std::process::Command` is safe everywhere, because it calls `exec`. A task can fork; the forked
//! process exits, as if by `_exit(1)`, when it returns from the task's function or reaches an
//! `.await`. The same holds for callbacks on the library's threads and for `worker_init` and
//! `worker_exit`. What a fork of a worker process sends, reports or logs does not reach the program.
//! If a forked process needs a lock that another thread held, it writes a line to stderr and exits
//! in the same way, instead of waiting forever.
//!
//! **Threads.** Every function can be called from any thread, including from the destructor of a
//! thread-local value and from an `atexit` handler. The library never holds a lock while it calls
//! user code (`Clone`, `Drop`, `Deserialize`, `Ord`, wakers, callbacks, hooks, `tracing`
//! subscribers), so that code can call back into the library. If a destructor panics while the
//! library drops a user's value, the panic hook reports it and other tasks are not affected.
//!
//! **Signals.** atasker installs no signal handlers. Do not call it from within a handler, because
//! a handler can interrupt any code: set a flag, or use a crate such as signal-hook, as shown
//! below.
//!
//! # Graceful shutdown
//!
//! Tasks that are unfinished when `main` returns are lost. `#[atasker::main(drain = "10s")]` waits
//! for them first. A service stops on request: on SIGTERM, SIGINT (Ctrl-C) or SIGHUP (the terminal
//! is closed). Worker processes run in separate process groups, so a signal from the terminal
//! reaches the program only, and the program decides what happens to its tasks. The following
//! example uses signal-hook:
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
//!     let mut ticks = 0;
//!     while !ctx.wait_stop(Duration::from_millis(100)) {
//!         ticks += 1;
//!     }
//!     ticks
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
//! let stopper = std::thread::spawn(move || {
//!     signals.forever().next();
//!     // Cancels the waiting tasks, asks the running ones to stop, and waits up to ten seconds.
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
//! In a tokio program, no extra thread is needed:
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
//!     let mut hangup = signal(SignalKind::hangup())?;
//!     supervisor().start();
//! #   signal_hook::low_level::raise(signal_hook::consts::SIGHUP)?;
//!     tokio::select! {
//!         _ = terminate.recv() => {}
//!         _ = interrupt.recv() => {}
//!         _ = hangup.recv() => {}
//!     }
//!     let options = StopOptions::new().wait(Duration::from_secs(10)).cancel_tasks(true);
//!     let report = supervisor().stop_async(options).await;
//!     println!("{} completed, {} abandoned", report.completed, report.abandoned);
//!     Ok(())
//! }
//! ```
//!
//! After a SIGHUP the terminal is gone and `println!` panics, in the program and in worker
//! processes that inherit its output. [`WorkerStdio::Log`] and `Null` avoid that for worker
//! processes.
//!
//! # Testing
//!
//! Every function with the attribute can be called plainly, as `f::call(..)`. The module [`testing`]
//! makes code that launches tasks testable without waiting: launches that run their tasks before they
//! return, a clock of a supervisor that the test moves, and the other end of a [`TaskContext`].
//!
//! ```
//! use std::time::Duration;
//!
//! use atasker::{Supervisor, TaskContext, background_task, testing};
//!
//! #[background_task(delay = "1m", retries = 2, retry_delay = "10m")]
//! fn deliver(ctx: &TaskContext<(), u32>, to: String) -> Result<u32, String> {
//!     let _ = ctx.send(ctx.attempt());
//!     if ctx.attempt() < 3 { Err(format!("{to} is not at home")) } else { Ok(ctx.attempt()) }
//! }
//!
//! // The function alone.
//! let (ctx, peer) = TaskContext::pair();
//! assert!(deliver::call(&ctx, "Ada".into()).is_err());
//! assert_eq!(peer.recv().unwrap(), 1);
//!
//! // As a task, with all attempts, without the delay and the pauses.
//! let guard = testing::inline();
//! let task = deliver("Ada".into());
//! assert_eq!(task.messages().collect::<Vec<_>>(), [1, 2, 3]);
//! assert_eq!(task.join().unwrap(), Ok(3));
//! drop(guard);
//!
//! // With them, by a clock of the test.
//! let sup = Supervisor::builder().build();
//! let clock = testing::pause(&sup);
//! let task = deliver::builder("Ada".into()).supervisor(&sup).start();
//! clock.advance(Duration::from_secs(11 * 60));
//! assert_eq!(task.info().attempt, 2);
//! clock.advance(Duration::from_secs(10 * 60));
//! assert_eq!(task.result(), Some(&Ok(3)));
//! ```
//!
//! # Errors
//!
//! A launch never fails and never panics: any failure becomes the [`TaskError`] of the task. An
//! `Err` that the function returns is a result, not a `TaskError`.
//!
//! The error of a task in a worker process must be serializable. [`RemoteResult`] accepts any error:
//!
//! ```
//! # #[cfg(feature = "mp")] {
//! use atasker::{RemoteResult, background_task};
//!
//! #[background_task(tt = "mp")]
//! fn lines(path: &str) -> RemoteResult<usize> {
//!     Ok(std::fs::read_to_string(path)?.lines().count())
//! }
//!
//! let error = lines("/nonexistent").join().unwrap().unwrap_err();
//! assert_eq!(error.type_name(), "std::io::error::Error");
//! # }
//! ```
//!
//! # Features
//!
//! * `async` (default): async tasks and aloops. Depends on tokio.
//! * `mp` (default): worker processes. Depends on bincode and rmp-serde.
//! * `pre-main` (default): recognizes worker processes before `main`, without setup code.
//! * `cron` (default): jobs by cron expressions, `Job::cron`. Depends on chrono.
//! * `metrics`: metrics of a supervisor, through the crate `metrics`; see
//!   `Supervisor::export_metrics`.
//! * `log`: records of the crate `log` in worker processes go to the program's logger; see
//!   [Tracing in worker processes](#tracing-in-worker-processes).
//! * `progress`: progress bars of waits and of tasks, in the module `progress`. Depends on indicatif.
//! * `redis`: tasks fed from Redis; see [`compat`]. Enables `async`.
//! * `dashboard`: a web page that shows the supervisors and steers them; see `Dashboard`. Depends on
//!   axum.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use atasker_macros::{
    background, background_task, background_worker, collect, collection, main,
};
#[doc(inline)]
pub use atasker_runtime::*;

#[cfg(all(doctest, feature = "mp", feature = "async"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "mp", feature = "async"))]
#[doc = include_str!("../docs/from-python.md")]
struct FromPython;
