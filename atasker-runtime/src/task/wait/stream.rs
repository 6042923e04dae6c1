//! The iterators over tasks as streams.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::bounded::{Bounded, BoundedBy};
use super::each::AsCompleted;
use super::waitable::TaskHandle;
use crate::launch::TaskBuilder;

/// A stream of the outcomes of tasks, in the order in which they complete: what
/// [`as_completed`](crate::as_completed), [`bounded`](crate::bounded) or
/// [`bounded_by`](crate::bounded_by) yields, without blocking.
///
/// Created by their method `into_stream`. The stream works on any executor, and is `Unpin`. After its
/// end, it yields `None` again. Requires the feature `async`.
///
/// The stream of a bounded iterator launches tasks while it is polled. If the queue of a pool is
/// full, it waits for room without blocking the thread, as
/// [`start_async`](crate::TaskBuilder::start_async) does.
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// # use futures_lite::future::block_on;
/// use atasker::{TaskBuilder, bounded};
/// use futures_lite::StreamExt;
/// # block_on(async {
/// let squares = (0..100_u64).map(|n| TaskBuilder::new(move || n * n));
/// let mut outcomes = bounded(4, squares).cancel_on_drop().into_stream();
/// let mut sum = 0;
/// while let Some((_, square)) = outcomes.next().await {
///     sum += square.unwrap();
/// }
/// assert_eq!(sum, 328_350);
/// # });
/// ```
///
/// # Cancel safety
///
/// Awaiting the next item is cancel safe: no outcome is lost if the future is dropped before it
/// completes.
#[derive(Debug)]
#[must_use = "a stream does nothing until it is polled"]
pub struct TaskStream<T> {
    tasks: T,
}

// The source of builders is never pinned.
impl<T> Unpin for TaskStream<T> {}

macro_rules! stream {
    ([$($generics:tt)*] $Tasks:ty where [$($bounds:tt)*]) => {
        impl<$($generics)*> $Tasks
        where
            $($bounds)*
        {
            /// Returns a stream of the same items, for async code. See [`TaskStream`].
            pub fn into_stream(self) -> TaskStream<Self> {
                TaskStream { tasks: self }
            }
        }

        impl<$($generics)*> Stream for TaskStream<$Tasks>
        where
            $($bounds)*
        {
            type Item = <$Tasks as Iterator>::Item;

            fn poll_next(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                self.tasks.poll_next(context)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                Iterator::size_hint(&self.tasks)
            }
        }
    };
}

stream!([T: TaskHandle] AsCompleted<T> where []);
stream!([S, R, I, O] Bounded<S, R, I, O> where [
    S: Iterator<Item = TaskBuilder<R, I, O>>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
]);
stream!([S, K, R, I, O] BoundedBy<S, K, R, I, O> where [
    S: Iterator<Item = (K, TaskBuilder<R, I, O>)>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
]);
