//! Iterators over tasks in the order of completion: over all of them, or with a bounded number in
//! flight.

use std::fmt;
use std::iter::FusedIterator;

use super::ready::Arrivals;
use super::waitable::TaskHandle;
use super::waitable::sealed::Handle as _;
use crate::error::TaskError;
use crate::fork;
use crate::launch::TaskBuilder;
use crate::limit;
use crate::progress::Meter;
use crate::task::handle::Task;
use crate::task::park;

/// Returns an iterator over the outcomes of `tasks`, in the order in which they complete, each with
/// the task's position in the list.
///
/// `tasks` is a collection of tasks by value (`Vec<Task<R>>`, or any other iterator of tasks),
/// which yields `Result<R, TaskError>`, or by reference (`&vec`), which yields `Result<&R,
/// TaskError>`. `next` blocks until another task has ended. Its cost does not depend on the number
/// of remaining tasks. Dropping the iterator early detaches the remaining tasks that were passed by
/// value.
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
    let tasks: Vec<Option<L::Item>> = tasks.into_iter().map(Some).collect();
    let mut these =
        AsCompleted { left: tasks.len(), tasks, arrivals: Arrivals::new(), meter: Meter::NONE };
    let AsCompleted { tasks, arrivals, .. } = &mut these;
    for (index, task) in tasks.iter().flatten().enumerate() {
        arrivals.add(index, task.header_ref().0);
    }
    arrivals.sort(|index| waited_for(tasks, index).header_ref().0);
    these
}

/// An iterator over tasks as they complete. See [`as_completed`].
#[must_use = "nothing is waited for until the iterator is used; the tasks go on without it"]
pub struct AsCompleted<T: TaskHandle> {
    /// `None` for a task whose outcome was returned.
    pub(crate) tasks: Vec<Option<T>>,
    pub(crate) left: usize,
    arrivals: Arrivals,
    pub(crate) meter: Meter,
}

/// Takes the first of those that are left.
fn take_first<T>(tasks: &mut [Option<T>]) -> Option<(usize, T)> {
    tasks.iter_mut().enumerate().find_map(|(index, task)| Some((index, task.take()?)))
}

fn waited_for<T>(tasks: &[Option<T>], index: usize) -> &T {
    tasks[index].as_ref().expect("a task arrives once")
}

impl<T: TaskHandle> Iterator for AsCompleted<T> {
    type Item = (usize, T::Settled);

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            self.meter.end();
            return None;
        }
        let AsCompleted { tasks, arrivals, .. } = self;
        if fork::is_copy() {
            // None of them will arrive: each has ended already, or yields the error.
            let (index, task) = take_first(tasks)?;
            self.left -= 1;
            return Some((index, task.__settled()));
        }
        let lent = limit::lend(tasks.iter().flatten().map(|task| task.header_ref().0));
        let index = park::block_on_or_run_inline(
            None,
            |context| arrivals.poll(context, |index| waited_for(tasks, index).header_ref().0),
            || tasks.iter().flatten().any(|task| task.run_inline()),
        )?;
        drop(lent);
        let task = self.tasks[index].take()?;
        self.left -= 1;
        Some((index, task.__settled()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: TaskHandle> ExactSizeIterator for AsCompleted<T> {}
impl<T: TaskHandle> FusedIterator for AsCompleted<T> {}

impl<T: TaskHandle> Drop for AsCompleted<T> {
    fn drop(&mut self) {
        for (index, task) in self.tasks.iter().enumerate() {
            if let Some(task) = task {
                self.arrivals.remove(index, task.header_ref().0);
            }
        }
    }
}

impl<T: TaskHandle> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Launches tasks from an iterator of builders, at most `n` at a time, and returns an iterator over
/// their outcomes in the order of completion, each with the task's index in `builders`.
///
/// The iterator is lazy: `next` starts tasks until `n` are in flight, waits until one of them has
/// ended, and returns its outcome. A task counts as in flight until its outcome is returned, so the
/// source is never ahead of the consumer by more than `n`, and may be endless. `n = 0` counts as 1.
/// Dropping the iterator early starts no more tasks and detaches those in flight.
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
    Bounded {
        limit: n.max(1),
        source: Some(builders.into_iter()),
        launched: 0,
        slots: Vec::new(),
        free: Vec::new(),
        arrivals: Arrivals::new(),
        meter: Meter::NONE,
    }
}

/// An iterator that launches tasks a few at a time. See [`bounded`].
#[must_use = "no task is launched until the iterator is used"]
pub struct Bounded<S, R, I = (), O = ()> {
    limit: usize,
    /// `None` once the source has ended.
    source: Option<S>,
    pub(crate) launched: usize,
    pub(crate) slots: Vec<Option<InFlight<R, I, O>>>,
    free: Vec<usize>,
    arrivals: Arrivals,
    pub(crate) meter: Meter,
}

pub(crate) struct InFlight<R, I, O> {
    number: usize,
    pub(crate) task: Task<R, I, O>,
}

impl<S, R, I, O> Bounded<S, R, I, O> {
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl<S, R, I, O> Bounded<S, R, I, O>
where
    S: Iterator<Item = TaskBuilder<R, I, O>>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    /// Starts tasks until the limit is reached or the source has ended.
    fn fill(&mut self) {
        while self.in_flight() < self.limit
            && let Some(source) = &mut self.source
        {
            let Some(builder) = source.next() else {
                self.source = None;
                return;
            };
            let task = builder.start();
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            });
            self.arrivals.add(slot, task.header());
            self.meter.add(slot, || task.erased());
            self.slots[slot] = Some(InFlight { number: self.launched, task });
            self.launched += 1;
        }
    }
}

impl<S, R, I, O> Iterator for Bounded<S, R, I, O>
where
    S: Iterator<Item = TaskBuilder<R, I, O>>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    type Item = (usize, Result<R, TaskError>);

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        if self.in_flight() == 0 {
            self.meter.end();
            return None;
        }
        let Bounded { slots, arrivals, .. } = self;
        if fork::is_copy() {
            let (slot, InFlight { number, task }) = take_first(slots)?;
            self.free.push(slot);
            return Some((number, task.take_outcome()));
        }
        let lent = limit::lend(slots.iter().flatten().map(|flight| flight.task.header()));
        let slot = park::block_on_or_run_inline(
            None,
            |context| arrivals.poll(context, |slot| waited_for(slots, slot).task.header()),
            || slots.iter().flatten().any(|flight| flight.task.run_inline()),
        )?;
        drop(lent);
        let InFlight { number, task } = self.slots[slot].take()?;
        self.free.push(slot);
        Some((number, task.take_outcome()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let ours = self.in_flight();
        let (least, most) = self.source.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        (least.saturating_add(ours), most.and_then(|most| most.checked_add(ours)))
    }
}

impl<S, R, I, O> FusedIterator for Bounded<S, R, I, O>
where
    S: Iterator<Item = TaskBuilder<R, I, O>>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
}

impl<S, R, I, O> Drop for Bounded<S, R, I, O> {
    fn drop(&mut self) {
        for (slot, flight) in self.slots.iter().enumerate() {
            if let Some(flight) = flight {
                self.arrivals.remove(slot, flight.task.header());
            }
        }
    }
}

impl<S, R, I, O> fmt::Debug for Bounded<S, R, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("limit", &self.limit)
            .field("launched", &self.launched)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
