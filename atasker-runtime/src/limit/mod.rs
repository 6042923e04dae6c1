//! Limits of tasks across pools: how many run at once, or begin per period.
//!
//! | question | file |
//! |---|---|
//! | How many may begin now? | `budget` |
//! | Which one is next? | `desk` |
//! | How do the pools learn of it? | `gate` |
//! | How does a task go through, and lend its share while it waits? | `pass` |
//! | Limits by key | `keyed` |
//!
//! A task takes its limit and its slot at the same moment: see `desk`. While it waits for the
//! limit, its job is in the gate and not in the queue of its pool, where it would be in the way of
//! others; the pool counts it as waiting.

mod budget;
mod desk;
#[cfg(all(test, not(atasker_loom)))]
mod desk_tests;
mod gate;
mod keyed;
mod pass;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) use gate::{Admission, Parked, Reserved};
pub use keyed::{KeyedLimit, LimitKey};
pub(crate) use pass::{
    GateSource, Pass, admit, enter, has_limit, leave, lend, lend_by, lend_while_pending, may_start,
    revoke, unlend, waits,
};
#[cfg(has_processes)]
pub(crate) use pass::{pump, put_back};

use crate::fork;
pub(crate) use sealed::Source;

use budget::Rule;
use gate::{Gate, Position};

/// A limit that tasks share: how many of them run at once, or begin per period.
///
/// Tasks of all kinds and of several supervisors may share a limit. They begin by priority, then by
/// launch. While a task waits for its limit, it holds no slot and no thread, has the status
/// [`Queued`](crate::TaskStatus::Queued), and counts as a waiting task of its pool. Other tasks may
/// overtake it.
///
/// A task takes its limit together with its slot, for each attempt, and gives it back when its
/// function has returned or its worker process is gone. The token of a rate stays spent.
///
/// A task keeps its limit while it waits. A task of the same limit that it waits for (with `wait`,
/// `join`, `.await`, [`wait_completed!`](crate::wait_completed),
/// [`as_completed`](crate::as_completed) and the like) then runs on the share of the waiting one.
/// Nested tasks of one limit therefore never deadlock.
///
/// A limit is usually a `static`. An `Arc<Limit>` works as well. Limits are each process's own: a
/// task that is launched inside a worker process uses the limit of that process.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Limit, TaskBuilder};
///
/// /// At most four queries at once, on whichever thread.
/// static DATABASE: Limit = Limit::concurrency(4);
/// /// At most 100 requests per second, at most 20 of them at once after a pause.
/// static API: Limit = Limit::rate(100, Duration::from_secs(1)).burst(20);
///
/// let query = TaskBuilder::new(|| 42).limit(&DATABASE).start();
/// let request = TaskBuilder::new(|| 200).limit(&API).start();
/// assert_eq!((query.join().unwrap(), request.join().unwrap()), (42, 200));
/// ```
///
/// With the attribute: `#[background_task(limit = &DATABASE)]`. For a limit per tenant, host or
/// file, see [`KeyedLimit`].
pub struct Limit {
    rule: Rule,
    gate: OnceLock<Arc<Gate>>,
}

impl Limit {
    /// Creates a limit of the number of tasks that run at once.
    ///
    /// # Panics
    ///
    /// Panics if `tasks` is 0. In a `static`, the program does not compile then.
    pub const fn concurrency(tasks: usize) -> Self {
        Limit { rule: Rule::concurrency(tasks), gate: OnceLock::new() }
    }

    /// Creates a limit of the number of tasks that begin per period: `Limit::rate(100,
    /// Duration::from_secs(1))` lets 100 tasks begin per second.
    ///
    /// It is a token bucket. Tokens come back evenly, one each `per / tasks`, and at most
    /// [`burst`](Self::burst) of them accumulate. In any window of a length `w`, at most `burst +
    /// tasks * w / per` tasks begin.
    ///
    /// # Panics
    ///
    /// Panics if `tasks` or `per` is 0. In a `static`, the program does not compile then.
    pub const fn rate(tasks: u32, per: Duration) -> Self {
        Limit { rule: Rule::rate(tasks, per), gate: OnceLock::new() }
    }

    /// Sets how many tasks may begin at once after a pause. The default is the number of tasks per
    /// period.
    ///
    /// # Panics
    ///
    /// Panics if `tasks` is 0, and if the limit is not a rate. In a `static`, the program does not
    /// compile then.
    pub const fn burst(mut self, tasks: u32) -> Self {
        self.rule = self.rule.with_burst(tasks);
        self
    }

    fn source(&self) -> Arc<dyn GateSource> {
        if fork::is_copy() {
            // Another thread of the parent may have been creating the gate. No task is launched here.
            return Gate::new(self.rule, Position::OfLaunch);
        }
        let gate = self.gate.get_or_init(|| Gate::new(self.rule, Position::OfLaunch));
        Arc::<Gate>::clone(gate)
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl GateSource for Gate {
    fn gate(&self) -> Arc<Gate> {
        self.me.upgrade().expect("a gate that is in use")
    }
}

pub(crate) mod sealed {
    use std::sync::Arc;

    use super::GateSource;

    /// The gate of a limit, wrapped so that a public trait can mention it.
    pub struct Source(pub(crate) Arc<dyn GateSource>);

    impl std::fmt::Debug for Source {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Source")
        }
    }
}

/// What limits a task: `&Limit`, `Arc<Limit>`, or the [`key`](KeyedLimit::key) of a [`KeyedLimit`].
///
/// This trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a limit of tasks",
    label = "a `&Limit`, an `Arc<Limit>` or the key of a `KeyedLimit` is expected here",
    note = "declare `static RATE: Limit = Limit::concurrency(4);` and pass `&RATE`; of a \
            `KeyedLimit`, pass `TENANT.key(&tenant)`"
)]
pub trait TaskLimit {
    #[doc(hidden)]
    fn __source(self) -> sealed::Source;
}

impl TaskLimit for sealed::Source {
    fn __source(self) -> sealed::Source {
        self
    }
}

impl TaskLimit for &Limit {
    fn __source(self) -> sealed::Source {
        sealed::Source(self.source())
    }
}

impl TaskLimit for Arc<Limit> {
    fn __source(self) -> sealed::Source {
        sealed::Source(self.source())
    }
}

impl TaskLimit for &Arc<Limit> {
    fn __source(self) -> sealed::Source {
        sealed::Source(self.source())
    }
}

impl TaskLimit for LimitKey {
    fn __source(self) -> sealed::Source {
        sealed::Source(self.source)
    }
}

impl TaskLimit for &LimitKey {
    fn __source(self) -> sealed::Source {
        sealed::Source(Arc::clone(&self.source))
    }
}
