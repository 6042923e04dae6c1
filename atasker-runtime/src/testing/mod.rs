//! Support for unit tests of code that launches tasks.
//!
//! | to test | use |
//! |---|---|
//! | a function with a context, without a task | [`TaskContext::pair`](crate::TaskContext::pair) |
//! | code that launches tasks, without waiting | [`inline`](inline()) |
//! | code that depends on time: delays, time limits, intervals | [`pause`] |
//!
//! They can be combined, and need no setup. A test that uses [`pause`] has a supervisor of its own, because
//! tests of one program run concurrently and share the default supervisor.
//!
//! ```
//! # extern crate atasker_runtime as atasker;
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use std::time::Duration;
//! use atasker::{IntervalWorker, Supervisor, testing};
//!
//! # /*
//! #[test]
//! # */
//! fn cleans_up_every_hour() {
//!     let sup = Supervisor::builder().build();
//!     let clock = testing::pause(&sup);
//!     let cleanups = Arc::new(AtomicU64::new(0));
//!     let count = Arc::clone(&cleanups);
//!     let worker = IntervalWorker::builder(Duration::from_secs(3600))
//!         .supervisor(&sup)
//!         .run(move |_| _ = count.fetch_add(1, Ordering::Relaxed));
//!     worker.start();
//!     clock.advance(Duration::from_secs(24 * 3600));
//!     // One run at the start, and one in each hour.
//!     assert_eq!(cleanups.load(Ordering::Relaxed), 25);
//! }
//! # cleans_up_every_hour();
//! ```

mod clock;
mod inline;
mod pair;

pub use clock::{ClockGuard, pause};
pub use inline::{InlineGuard, inline};
pub use pair::ContextPeer;
