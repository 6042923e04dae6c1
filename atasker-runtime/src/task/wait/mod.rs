//! Waiting for tasks: one, all, the first, each as it completes.
//!
//! | question | file |
//! |---|---|
//! | the end of one task, blocking or as a future | here |
//! | what can be waited for, and what comes of it | `waitable` |
//! | the first of several | `first` |
//! | each one as it completes, and a bounded number in flight | `each` |
//! | how a waiter learns which of its many tasks has ended | `ready` |
//! | what users write | `macros` |
//!
//! Whoever waits for *all* waits for one after the other, with one deadline for the whole. Whoever
//! waits for *any* leaves a waker with each task that notes the task's index in one queue: a
//! completion costs O(1), however many are waited for.

mod each;
mod first;
mod macros;
mod ready;
#[cfg(all(test, not(atasker_loom)))]
mod tests;
mod waitable;

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::WaitError;
use crate::info::TaskType;
use crate::spin;
use crate::task::waiters::WaiterKey;
use crate::task::{AnyTask, park};

pub use each::{AsCompleted, Bounded, as_completed, bounded};
pub use first::Alternatives;
#[cfg(all(test, atasker_loom))]
pub(crate) use ready::Arrivals;
pub use waitable::{TaskHandle, WaitTime, Waitable};

/// Waits for the end of a task; false when the deadline was first.
#[track_caller]
pub(crate) fn wait_end(task: &Arc<dyn AnyTask>, deadline: Option<Instant>) -> bool {
    let header = task.header();
    let in_time = deadline.is_none_or(|deadline| deadline > Instant::now());
    let soon = match header.tt {
        _ if !in_time => header.state.read().is_ended(),
        TaskType::Mp => !park::on_aloop_thread() && look(task),
        _ => park::looks_first() && spin::until(|| header.state.read().is_ended()),
    };
    if soon {
        return true;
    }
    let key = WaiterKey::next();
    let ended = park::block_on_or_help(
        deadline,
        |context| match header.state.read().is_ended() || !header.watch(key, context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        },
        || run_here(task),
    );
    if ended.is_none() {
        header.unwatch(key);
    }
    ended.is_some()
}

/// Whether the task has ended, after a look at its place.
fn look(task: &Arc<dyn AnyTask>) -> bool {
    task.header().state.read().is_ended()
        || task.header().owner().is_some_and(|owner| owner.look(&**task))
}

/// The last resort of a waiter in whose place no thread can be started: runs the task itself.
fn run_here(task: &Arc<dyn AnyTask>) -> bool {
    task.header().owner().is_some_and(|owner| owner.run_here(task))
}

/// Is ready when the task has ended.
pub(crate) async fn ended(task: Arc<dyn AnyTask>) {
    struct Watch(Arc<dyn AnyTask>, WaiterKey);
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

/// What the macros call.
pub mod entry {
    use super::*;

    /// Of a wait without `timeout`.
    pub const NO_LIMIT: Option<Duration> = None;

    /// `wait_completed!`.
    ///
    /// # Errors
    /// The first task in order that failed, or the end of the time.
    #[track_caller]
    pub fn completed<W: Waitable>(tasks: W, time: impl WaitTime) -> Result<W::Output, WaitError> {
        if !tasks.__wait(deadline(time)) {
            let mut pending = Vec::new();
            tasks.__pending(&mut pending);
            // The last of them may have ended just now.
            if !pending.is_empty() {
                return Err(WaitError::Timeout { pending });
            }
        }
        tasks.__completed()
    }

    /// `wait_settled!`.
    #[track_caller]
    pub fn settled<W: Waitable>(tasks: W) -> W::Settled {
        tasks.__wait(None);
        tasks.__settled()
    }

    /// `wait_any!`.
    ///
    /// # Errors
    /// That of the first to end if it failed, the end of the time, or that there is no task.
    #[track_caller]
    pub fn any<A: Alternatives>(
        tasks: A,
        time: impl WaitTime,
    ) -> Result<(usize, A::Output), WaitError> {
        first::first(tasks, deadline(time))
    }
}
