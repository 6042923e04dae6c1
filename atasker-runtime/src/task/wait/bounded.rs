//! Iterators that launch tasks, with a bounded number in flight.

use std::fmt;
use std::iter::{Enumerate, FusedIterator};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::in_flight::{AtDrop, InFlight};
use crate::error::TaskError;
use crate::launch::{StartAsync, TaskBuilder};
use crate::progress::Meter;
use crate::task::handle::Task;
use crate::unwind::Guarded;

/// Launches tasks from an iterator of builders, at most `n` at a time, and returns an iterator over
/// their outcomes in the order of completion, each with the task's index in `builders`.
///
/// The iterator is lazy: `next` starts tasks until `n` are in flight, waits until one of them has
/// ended, and returns its outcome. A task counts as in flight until its outcome is returned, so the
/// source is never ahead of the consumer by more than `n`, and may be endless. `n = 0` counts as 1.
/// Dropping the iterator early starts no more tasks and detaches those in flight; see also
/// [`cancel_on_drop`](Bounded::cancel_on_drop). [`bounded_by`] yields a key instead of the index.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, bounded};
/// let squares = (0_u64..).map(|n| TaskBuilder::new(move || n * n));
/// let (mut seen, mut sum) = (0, 0);
/// for (i, square) in bounded(4, squares.take(100)) {
///     assert_eq!(square.unwrap(), (i * i) as u64);
///     seen += 1;
///     sum += i;
/// }
/// assert_eq!((seen, sum), (100, 99 * 100 / 2));
/// ```
///
/// # Panics
///
/// `next` panics on the thread of an aloop if it would have to block.
pub fn bounded<S, R, I, O>(n: usize, builders: S) -> Bounded<S::IntoIter, R, I, O>
where
    S: IntoIterator<Item = TaskBuilder<R, I, O>>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    Bounded { window: Window::new(n, builders.into_iter().enumerate()) }
}

/// Launches tasks from an iterator of keys and builders, at most `n` at a time, and returns an
/// iterator over the keys and outcomes in the order of completion.
///
/// Everything else is as for [`bounded`]. A key is any value: what the task is about, for example.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, bounded_by};
/// let names = ["Ada", "Grace", "Barbara"];
/// let lengths = names.map(|name| (name, TaskBuilder::new(move || name.len())));
/// for (name, length) in bounded_by(2, lengths) {
///     assert_eq!(length.unwrap(), name.len());
/// }
/// ```
///
/// # Panics
///
/// `next` panics on the thread of an aloop if it would have to block.
pub fn bounded_by<S, K, R, I, O>(n: usize, builders: S) -> BoundedBy<S::IntoIter, K, R, I, O>
where
    S: IntoIterator<Item = (K, TaskBuilder<R, I, O>)>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    BoundedBy { window: Window::new(n, builders.into_iter()) }
}

/// An iterator that launches tasks a few at a time. See [`bounded`].
#[must_use = "no task is launched until the iterator is used"]
pub struct Bounded<S, R, I = (), O = ()> {
    pub(crate) window: Window<Enumerate<S>, usize, R, I, O>,
}

/// An iterator that launches tasks a few at a time, each with a key. See [`bounded_by`].
#[must_use = "no task is launched until the iterator is used"]
pub struct BoundedBy<S, K, R, I = (), O = ()> {
    pub(crate) window: Window<S, K, R, I, O>,
}

/// The tasks in flight, and the source of further ones.
pub(crate) struct Window<S, K, R, I, O> {
    limit: usize,
    /// `None` once the source has ended.
    source: Option<S>,
    /// A launch of `poll_next` that waits for room.
    starting: Option<(Guarded<K>, StartAsync<R, I, O>)>,
    pub(crate) launched: usize,
    pub(crate) in_flight: InFlight<Guarded<K>, Task<R, I, O>>,
    pub(crate) meter: Meter,
}

impl<S, K, R, I, O> Window<S, K, R, I, O>
where
    S: Iterator<Item = (K, TaskBuilder<R, I, O>)>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    fn new(n: usize, source: S) -> Self {
        Window {
            limit: n.max(1),
            source: Some(source),
            starting: None,
            launched: 0,
            in_flight: InFlight::new(),
            meter: Meter::NONE,
        }
    }

    /// Returns the next builder, if one more task may be in flight.
    fn next_builder(&mut self) -> Option<(Guarded<K>, TaskBuilder<R, I, O>)> {
        if self.in_flight.len() >= self.limit {
            return None;
        }
        match self.source.as_mut()?.next() {
            Some((key, builder)) => Some((Guarded::new(key), builder)),
            None => {
                self.source = None;
                None
            }
        }
    }

    fn add(&mut self, key: Guarded<K>, task: Task<R, I, O>) {
        self.launched += 1;
        let Window { in_flight, meter, .. } = self;
        let slot = in_flight.push(key, task);
        meter.add(slot, || in_flight.task(slot).erased().clone());
    }

    #[track_caller]
    fn next(&mut self) -> Option<(K, Result<R, TaskError>)> {
        while let Some((key, builder)) = self.next_builder() {
            self.add(key, builder.start());
        }
        let next = self.in_flight.wait();
        if next.is_none() {
            self.meter.end();
        }
        next.map(|(key, outcome)| (key.into_inner(), outcome))
    }

    /// The same, without blocking.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<(K, Result<R, TaskError>)>> {
        loop {
            let next = self.starting.take();
            let next = next
                .or_else(|| self.next_builder().map(|(key, builder)| (key, builder.start_async())));
            let Some((key, mut start)) = next else { break };
            match Pin::new(&mut start).poll(context) {
                Poll::Ready(task) => self.add(key, task),
                Poll::Pending => {
                    self.starting = Some((key, start));
                    break;
                }
            }
        }
        match self.in_flight.poll(context) {
            Poll::Ready(Some((key, outcome))) => Poll::Ready(Some((key.into_inner(), outcome))),
            Poll::Ready(None) if self.starting.is_none() => {
                self.meter.end();
                Poll::Ready(None)
            }
            _ => Poll::Pending,
        }
    }

    pub(crate) fn size_hint(&self) -> (usize, Option<usize>) {
        let ours = self.in_flight.len() + usize::from(self.starting.is_some());
        let (least, most) = self.source.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        (least.saturating_add(ours), most.and_then(|most| most.checked_add(ours)))
    }
}

impl<S, K, R, I, O> Window<S, K, R, I, O> {
    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("limit", &self.limit)
            .field("launched", &self.launched)
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

macro_rules! iterator {
    ($Bounded:ident<$($G:ident),+>, $Key:ty, $Item:ty) => {
        impl<$($G,)+ R, I, O> $Bounded<$($G,)+ R, I, O> {
            /// Cancels the tasks in flight when the iterator, or the stream made of it, is dropped.
            /// Those that run are asked to stop, and not waited for.
            ///
            /// ```
            /// # extern crate atasker_runtime as atasker;
            /// use atasker::{TaskBuilder, bounded};
            /// let guesses = (0_u64..).map(|n| TaskBuilder::new(move || (n * n * n) % 101 == 100));
            /// let found = bounded(4, guesses).cancel_on_drop().find(|(_, hit)| *hit == Ok(true));
            /// assert!(found.is_some());
            /// ```
            pub fn cancel_on_drop(mut self) -> Self {
                self.window.in_flight.at_drop = AtDrop::Cancel;
                self
            }
        }

        impl<$($G,)+ R, I, O> Iterator for $Bounded<$($G,)+ R, I, O>
        where
            S: Iterator<Item = $Item>,
            R: Send + 'static,
            I: Send + 'static,
            O: Send + 'static,
        {
            type Item = ($Key, Result<R, TaskError>);

            #[track_caller]
            fn next(&mut self) -> Option<Self::Item> {
                self.window.next()
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.window.size_hint()
            }
        }

        impl<$($G,)+ R, I, O> $Bounded<$($G,)+ R, I, O>
        where
            S: Iterator<Item = $Item>,
            R: Send + 'static,
            I: Send + 'static,
            O: Send + 'static,
        {
            /// The same as `next`, without blocking.
            pub(super) fn poll_next(
                &mut self,
                context: &mut Context<'_>,
            ) -> Poll<Option<($Key, Result<R, TaskError>)>> {
                self.window.poll_next(context)
            }
        }

        impl<$($G,)+ R, I, O> FusedIterator for $Bounded<$($G,)+ R, I, O>
        where
            S: Iterator<Item = $Item>,
            R: Send + 'static,
            I: Send + 'static,
            O: Send + 'static,
        {
        }

        impl<$($G,)+ R, I, O> fmt::Debug for $Bounded<$($G,)+ R, I, O> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.window.debug(stringify!($Bounded), f)
            }
        }
    };
}

iterator!(Bounded<S>, usize, TaskBuilder<R, I, O>);
iterator!(BoundedBy<S, K>, K, (K, TaskBuilder<R, I, O>));
