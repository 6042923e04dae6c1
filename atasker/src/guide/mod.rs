//! The book: a chapter per subject, with complete programs.
//!
//! Start with [`tasks`], [`waiting`] and [`places`]. The other
//! chapters stand alone.

// Each chapter is a Markdown file beside this one, so that it can be read in the repository as well. Its programs are
// tested. The summary here is what the index of the crate shows.

// Links in the chapters are resolved here.
#[cfg(doc)]
#[allow(unused_imports)]
use crate::*;

/// A figure, as HTML. It has no blank lines, which would end the HTML within Markdown. Its colors follow the theme.
macro_rules! figure {
    ($file:literal) => {
        concat!("<div>\n", include_str!($file), "</div>")
    };
}

/// What a task is, how it is launched, and when it ends.
///
#[doc = figure!("figures/call.svg")]
///
#[doc = include_str!("tasks.md")]
pub mod tasks {}

/// How to wait for one task, for several, and for each of a million.
///
#[doc = include_str!("waiting.md")]
pub mod waiting {}

/// Worker processes isolate crashes: how they start, what they have, and how they are set up.
///
#[doc = include_str!("worker_processes.md")]
pub mod worker_processes {}

/// Threads, async loops and worker processes side by side, and how to choose.
///
#[doc = figure!("figures/places.svg")]
///
#[doc = include_str!("places.md")]
pub mod places {}

/// Which errors a task can have, and how errors travel from worker processes.
///
#[doc = include_str!("errors.md")]
pub mod errors {}

/// How to stop a running task, exchange messages with it, and follow its progress.
///
#[doc = include_str!("communication.md")]
pub mod communication {}

/// Priorities, slots and reserves: which task starts when, and how large a pool should be.
///
#[doc = figure!("figures/slots.svg")]
///
#[doc = include_str!("slots.md")]
pub mod slots {}

/// Time limits, retries, back-off and expiry.
///
#[doc = include_str!("time_limits.md")]
pub mod time_limits {}

/// How many tasks of a kind run at once, begin per second, or exist per key.
///
#[doc = include_str!("limits.md")]
pub mod limits {}

/// Async tasks, the loops that run them, and programs that use tokio and axum.
///
#[doc = include_str!("async_tasks.md")]
pub mod async_tasks {}

/// Functions that run repeatedly: background workers, scheduled jobs, and collections.
///
#[doc = include_str!("background_workers.md")]
pub mod background_workers {}

/// From one machine to many: nodes, delivery, failures, upgrades and operation.
///
#[doc = figure!("figures/remote.svg")]
///
#[doc = include_str!("other_machines.md")]
#[cfg(feature = "nats")]
#[cfg_attr(docsrs, doc(cfg(feature = "nats")))]
pub mod other_machines {}

/// How a program ends without losing work, and what happens at a signal.
///
#[doc = include_str!("shutdown.md")]
pub mod shutdown {}

/// How to test functions, tasks, and what happens over time.
///
#[doc = include_str!("testing.md")]
pub mod testing {}

/// Events, spans, observers, metrics, progress bars and the dashboard.
///
#[doc = include_str!("observability.md")]
pub mod observability {}

/// What tasks cost, where others are faster, and how to get the speed.
///
#[doc = include_str!("performance.md")]
pub mod performance {}

/// Operating systems, features, containers, and limits.
///
#[doc = include_str!("platforms.md")]
pub mod platforms {}

/// What the library does, and permits, in programs that fork, in all threads, and at signals.
///
#[doc = include_str!("forks.md")]
pub mod forks {}

/// For users of the Python libraries atasker and task.py.
///
#[doc = include_str!("from_python.md")]
pub mod from_python {}

/// For users of Celery: the same program twice.
///
#[doc = include_str!("from_celery.md")]
pub mod from_celery {}

/// For users of rayon: the same program twice.
///
#[doc = include_str!("from_rayon.md")]
pub mod from_rayon {}

/// For users of tokio: the same program twice.
///
#[doc = include_str!("from_tokio.md")]
pub mod from_tokio {}

/// For users of procspawn: the same program twice.
///
#[doc = include_str!("from_procspawn.md")]
pub mod from_procspawn {}
