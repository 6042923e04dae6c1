//! Put one attribute on a function, and calling it runs it in the background: on a pool thread, on an
//! async loop, or in a worker process whose crash fails one task instead of the program. The call
//! returns a typed handle, which waits for the function, stops or kills it, exchanges messages with it
//! and follows its progress, in the same way in all three places.
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
//! There is no set-up in `main`: pools start with the first task, and worker processes are copies of
//! the program that are recognized before `main` runs.
//!
#![doc = concat!("<div>\n", include_str!("guide/figures/places.svg"), "</div>")]
//!
//! # What it costs
//!
//! On two CPUs of a shared machine: 3 to 5 million empty thread tasks per second, as many async tasks
//! as tokio's own `spawn`, and 2.3 million calls per second in worker processes. A call in a worker
//! process and back takes 1 us, its pool 1.6 ms to the first result, and an idle worker process
//! 1.5 MiB. A waiting task takes about 250 bytes. An idle supervisor uses no CPU time, because nothing
//! polls. [Performance](guide::performance) has the details, and the cases where others are faster.
//!
//! # Where it runs
//!
//! Everything runs on Linux, and is written for macOS and FreeBSD, where it has not run yet. On other
//! platforms, Windows included, each use of `tt = "mp"` is a compile error: see
//! [platforms](guide::platforms). Rust 1.88 or newer. Tasks live in memory and end with the program.
//!
//! # The book
//!
//! Chapters with complete programs, which are tested:
//!
//! 1. [Tasks](guide::tasks): launching, with and without the attribute; the life of a task
//! 2. [Waiting](guide::waiting): for one, for several, for a million
//! 3. [Worker processes](guide::worker_processes): what they have, and how to set them up
//! 4. [Choosing a place](guide::places)
//! 5. [Errors that travel](guide::errors)
//! 6. [Stop, messages, progress](guide::communication)
//! 7. [Priorities, slots, reserves, sizes](guide::slots)
//! 8. [Time limits, retries, expiry](guide::time_limits)
//! 9. [Limits and unique tasks](guide::limits)
//! 10. [Async tasks, tokio and axum](guide::async_tasks)
//! 11. [Background workers, jobs, collections](guide::background_workers)
//! 12. [Other machines](guide::other_machines): the same attribute on a cluster, feature `nats`
//! 13. [Graceful shutdown](guide::shutdown)
//! 14. [Testing](guide::testing)
//! 15. [Tracing, metrics, progress bars, dashboard](guide::observability)
//! 16. [Performance](guide::performance)
//! 17. [Platforms, features, limits](guide::platforms)
//! 18. [Forks, threads and signals](guide::forks)
//!
//! For users of [the Python libraries](guide::from_python), [Celery](guide::from_celery),
//! [rayon](guide::from_rayon), [tokio](guide::from_tokio) and [procspawn](guide::from_procspawn).
//!
//! # The interface by topic
//!
//! | topic | items |
//! |---|---|
//! | launch | [`background_task`], [`background!`], [`TaskBuilder`], [`Supervisor::spawn`], [`Supervisor::spawn_async`] |
//! | wait | [`Task`], [`wait_completed!`], [`wait_settled!`], [`wait_any!`], [`as_completed`], [`bounded`], [`bounded_by`], [`TaskSet`] |
//! | data in memory | [`map()`], [`map!`], [`scope`] |
//! | inside a task | [`TaskContext`], [`current`], [`worker_data`] |
//! | outside of it | [`Task`], [`TaskRef`], [`TaskInfo`], [`TaskId`] |
//! | errors | [`TaskError`], [`WaitError`], [`RemoteResult`], [`WorkerDeath`], [`DeathCause`] |
//! | policies | [`Priority`], [`Backoff`], [`Limit`], [`KeyedLimit`], [`Overflow`] |
//! | pools | [`Supervisor`], [`SupervisorConfig`], [`PoolConfig`], [`MpPoolConfig`], [`Aloop`], [`StopOptions`] |
//! | recurring | [`background_worker`], [`LoopWorker`], [`IntervalWorker`], [`QueueWorker`], [`EventWorker`], [`WorkerContext`], [`Job`] |
//! | other machines | [`Nats`], [`Cluster`], [`NodeConfig`], [`Node`], [`RemoteTask`], [`ClusterError`] |
//! | collections | [`collection!`], [`collect`], [`FunctionCollection`], [`TaskCollection`] |
//! | observation | [`SupervisorInfo`], [`Observer`], [`Spans`], [`Dashboard`], [`progress`], [`Supervisor::export_metrics`] |
//! | `main` | [`main`](macro@main), [`init`] |
//! | tests | [`TaskContext::detached`], [`TaskContext::pair`], [`testing`] |
//! | from Python | [`compat`] |
//!
//! # Features
//!
//! * `async` (default): async tasks and aloops. Depends on tokio.
//! * `mp` (default): worker processes. Depends on bincode and rmp-serde.
//! * `pre-main` (default): recognizes worker processes before `main`, without set-up code.
//! * `cron` (default): jobs by cron expressions, `Job::cron`. Depends on chrono.
//! * `remote`: tasks on other machines, without the client of a broker: for clusters in one process. Enables `async` and
//!   `mp`.
//! * `metrics`: metrics of a supervisor, through the crate `metrics`.
//! * `log`: records of the crate `log` in worker processes go to the program's logger.
//! * `progress`: progress bars of waits and of tasks. Depends on indicatif.
//! * `nats`: tasks on [other machines](guide::other_machines), through a NATS server. Enables `mp` and `async`.
//!   Depends on async-nats.
//! * `nats-nkeys`: authentication at the NATS server by nkey and by credentials file.
//! * `redis`: tasks fed from Redis; see [`compat`]. Enables `async`.
//! * `dashboard`: a web page that shows the supervisors and steers them. Depends on axum.

// The documentation links to items of all features.
#![cfg_attr(
    not(all(
        feature = "mp",
        feature = "async",
        feature = "cron",
        feature = "metrics",
        feature = "progress",
        feature = "dashboard",
        feature = "nats"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]
// Badges of features, where the documentation is built by docs.rs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use atasker_macros::{
    background, background_task, background_worker, collect, collection, main, map,
};
#[cfg(feature = "nats")]
#[cfg_attr(docsrs, doc(cfg(feature = "nats")))]
#[doc(inline)]
pub use atasker_nats::{Nats, Storage};
#[doc(inline)]
pub use atasker_runtime::*;

// The programs of the book need all places.
#[cfg(not(all(
    doctest,
    not(all(
        feature = "mp",
        feature = "async",
        any(target_os = "linux", target_os = "macos", target_os = "freebsd")
    ))
)))]
pub mod guide;
