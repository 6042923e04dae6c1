//! An iterator over tasks in the order of completion.

use std::fmt;
use std::iter::FusedIterator;
use std::task::{Context, Poll};

use super::in_flight::{AtDrop, InFlight};
use super::waitable::TaskHandle;
use crate::progress::Meter;

/// Returns an iterator over the outcomes of `tasks`, in the order in which they complete, each with
/// the task's position in the list.
///
/// `tasks` is a collection of tasks by value (`Vec<Task<R>>`, or any other iterator of tasks),
/// which yields `Result<R, TaskError>`, or by reference (`&vec`), which yields `Result<&R,
/// TaskError>`. `next` blocks until another task has ended. Its cost does not depend on the number
/// of remaining tasks. Dropping the iterator early detaches the remaining tasks that were passed by
/// value; see also [`cancel_on_drop`](AsCompleted::cancel_on_drop).
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, as_completed};
/// let sup = Supervisor::builder().build();
/// let tasks: Vec<_> = (0..4_u32).map(|n| sup.spawn(move || 10 / (n % 3))).collect();
/// let (mut sum, mut failed) = (0, Vec::new());
/// for (i, outcome) in as_completed(tasks) {
///     match outcome {
///         Ok(n) => sum += n,
///         Err(error) => failed.push((i, error.is_panic())),
///     }
/// }
/// failed.sort();
/// assert_eq!((sum, failed), (10 + 5, vec![(0, true), (3, true)]));
/// ```
///
/// # Panics
///
/// `next` panics on the thread of an aloop if it would have to block.
pub fn as_completed<L>(tasks: L) -> AsCompleted<L::Item>
where
    L: IntoIterator<Item: TaskHandle>,
{
    let mut in_flight = InFlight::new();
    in_flight.extend(tasks.into_iter().enumerate());
    AsCompleted { total: in_flight.len(), in_flight, meter: Meter::NONE }
}

/// An iterator over tasks as they complete. See [`as_completed`].
#[must_use = "nothing is waited for until the iterator is used; the tasks go on without it"]
pub struct AsCompleted<T: TaskHandle> {
    /// The number of tasks, for the progress bar.
    #[cfg_attr(not(feature = "progress"), allow(dead_code))]
    pub(crate) total: usize,
    pub(crate) in_flight: InFlight<usize, T>,
    pub(crate) meter: Meter,
}

impl<T: TaskHandle> AsCompleted<T> {
    /// Cancels the remaining tasks when the iterator, or the stream made of it, is dropped. Those
    /// that run are asked to stop, and not waited for. This applies to tasks that were passed by
    /// reference as well.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext, as_completed};
    /// let tasks: Vec<_> = (1..=3)
    ///     .map(|n| TaskBuilder::with_context(move |ctx: &TaskContext| n > 1 && ctx.recv().is_err()))
    ///     .map(TaskBuilder::start)
    ///     .collect();
    /// // The first answer suffices.
    /// let first = as_completed(&tasks).cancel_on_drop().next();
    /// assert_eq!(first.unwrap().1.unwrap(), &false);
    /// assert!(*tasks[2].wait().unwrap_or(&true));
    /// ```
    pub fn cancel_on_drop(mut self) -> Self {
        self.in_flight.at_drop = AtDrop::Cancel;
        self
    }

    /// The same as `next`, without blocking.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<(usize, T::Settled)>> {
        let next = self.in_flight.poll(context);
        if let Poll::Ready(None) = next {
            self.meter.end();
        }
        next
    }
}

impl<T: TaskHandle> Iterator for AsCompleted<T> {
    type Item = (usize, T::Settled);

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.in_flight.wait();
        if next.is_none() {
            self.meter.end();
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.in_flight.len(), Some(self.in_flight.len()))
    }
}

impl<T: TaskHandle> ExactSizeIterator for AsCompleted<T> {}
impl<T: TaskHandle> FusedIterator for AsCompleted<T> {}

impl<T: TaskHandle> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.in_flight.len()).finish_non_exhaustive()
    }
}
