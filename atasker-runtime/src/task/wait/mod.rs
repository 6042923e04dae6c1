//! Waiting for tasks: for one, for all, for the first, and for each as it completes.
//!
//! | question | file |
//! |---|---|
//! | the end of one task, blocking or as a future | here |
//! | what can be waited for, and what it returns | `waitable` |
//! | the first of several | `first` |
//! | each one as it completes | `each` |
//! | a bounded number in flight | `bounded` |
//! | a set of tasks that come and go | `set` |
//! | the three as streams | `stream` |
//! | what these have in common | `in_flight` |
//! | how a waiter learns which of many tasks has ended | `ready` |
//! | the macros | `macros` |
//!
//! A wait for *all* waits for one task after the other, with one deadline for the whole. A wait for
//! *any* registers with each task a waker that pushes the task's index to one queue, so that a
//! completion costs O(1) regardless of the number of tasks.

mod bounded;
mod each;
mod first;
mod in_flight;
mod macros;
mod ready;
mod set;
#[cfg(feature = "async")]
mod stream;
#[cfg(all(test, not(atasker_loom)))]
mod tests;
mod waitable;

use std::task::Poll;
use std::time::{Duration, Instant};

use crate::error::WaitError;
use crate::fork;
use crate::info::TaskType;
use crate::limit;
use crate::sync::spin;
use crate::task::waiters::WaiterKey;
use crate::task::{TaskArc, park};
use crate::time::clock;

#[cfg(feature = "progress")]
pub(crate) use bounded::Window;
pub use bounded::{Bounded, BoundedBy, bounded, bounded_by};
pub use each::{AsCompleted, as_completed};
pub use first::Alternatives;
#[cfg(any(has_processes, all(test, atasker_loom)))]
pub(crate) use ready::Arrivals;
pub use set::TaskSet;
#[cfg(feature = "async")]
pub use stream::TaskStream;
pub use waitable::{TaskHandle, WaitTime, Waitable};

/// Waits for the end of a task. Returns false if the deadline passes first.
#[track_caller]
pub(crate) fn wait_end(task: &TaskArc, deadline: Option<Instant>) -> bool {
    let header = task.header();
    if fork::is_copy() {
        // There is nothing to wait for in a forked process. The caller checks whether the task had
        // ended.
        return true;
    }
    let in_time = deadline.is_none_or(|deadline| deadline > Instant::now());
    let soon = match header.tt {
        _ if !in_time => header.state.read().is_ended(),
        TaskType::Mp => !park::on_aloop_thread() && try_complete(task),
        _ => park::may_spin() && spin::until(|| header.state.read().is_ended()),
    };
    if soon {
        return true;
    }
    let _lent = limit::lend(std::iter::once(header));
    let key = WaiterKey::next();
    let ended = park::block_on_or_run_inline(
        deadline,
        |context| match header.state.read().is_ended() || !header.watch(key, context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        },
        || run_inline(task),
    );
    if ended.is_none() {
        header.unwatch(key);
    }
    ended.is_some()
}

/// Returns whether the task has ended, after asking its place to complete it.
fn try_complete(task: &TaskArc) -> bool {
    task.header().state.read().is_ended()
        || task.header().with_place(|place| place.try_complete(&**task)).unwrap_or(false)
}

/// Runs the task on this thread: the last resort of a waiter if no replacement thread can be
/// started.
pub(crate) fn run_inline(task: &TaskArc) -> bool {
    task.header().with_place(|place| place.run_inline(task)).unwrap_or(false)
}

/// Completes when the task has ended.
pub(crate) async fn ended(task: TaskArc) {
    struct Watch(TaskArc, WaiterKey);
    impl Drop for Watch {
        fn drop(&mut self) {
            self.0.header().unwatch(self.1);
        }
    }
    let watch = Watch(task, WaiterKey::next());
    std::future::poll_fn(|context| match watch.0.header().watch(watch.1, context.waker()) {
        true => Poll::Pending,
        false => Poll::Ready(()),
    })
    .await
}

fn deadline(time: impl WaitTime) -> Option<Instant> {
    time.__limit().map(clock::after)
}

/// Waits for the end of all tasks, or until the time is over.
#[track_caller]
pub(crate) fn wait_all<W: Waitable>(tasks: &W, time: impl WaitTime) -> Result<(), WaitError> {
    if !tasks.__wait(deadline(time)) {
        let mut pending = Vec::new();
        tasks.__each(&mut |task| {
            let header = task.header_ref().0;
            if !header.state.read().is_ended() {
                pending.push(header.id());
            }
        });
        // The last of them may have ended since the deadline.
        if !pending.is_empty() {
            return Err(WaitError::Timeout { pending });
        }
    }
    Ok(())
}

/// The functions that the macros call.
pub mod entry {
    use super::*;

    /// The time limit of a wait without `timeout`.
    pub const NO_LIMIT: Option<Duration> = None;

    /// Implements `wait_completed!`.
    ///
    /// # Errors
    ///
    /// Returns the failure of the first failed task in argument order, or a timeout.
    #[track_caller]
    pub fn completed<W: Waitable>(tasks: W, time: impl WaitTime) -> Result<W::Output, WaitError> {
        wait_all(&tasks, time)?;
        tasks.__completed()
    }

    /// Implements `wait_settled!`.
    #[track_caller]
    pub fn settled<W: Waitable>(tasks: W) -> W::Settled {
        tasks.__wait(None);
        tasks.__settled()
    }

    /// Implements `wait_any!`.
    ///
    /// # Errors
    ///
    /// Returns the failure of the first task to end, a timeout, or an error if there is no task.
    #[track_caller]
    pub fn any<A: Alternatives>(
        tasks: A,
        time: impl WaitTime,
    ) -> Result<(usize, A::Output), WaitError> {
        first::first(tasks, deadline(time))
    }
}
