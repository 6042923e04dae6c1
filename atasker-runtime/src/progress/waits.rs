//! The bars of waits, and of a task.

use std::borrow::Cow;

use super::bar::{Source, Spec};
use super::display::DISPLAY;
use super::meter::{AtEnd, EndWaker, Meter};
use crate::error::WaitError;
use crate::launch::TaskBuilder;
use crate::task::handle::Task;
use crate::task::wait::{
    self, AsCompleted, Bounded, BoundedBy, TaskHandle, WaitTime, Waitable, Window,
};

/// The functions that the macros call.
pub mod entry {
    use super::*;

    /// Implements `wait_completed!` with `progress`.
    ///
    /// # Errors
    ///
    /// Returns the failure of the first failed task in argument order, or a timeout.
    #[track_caller]
    pub fn completed<W: Waitable>(
        tasks: W,
        time: impl WaitTime,
        label: impl Into<Cow<'static, str>>,
    ) -> Result<W::Output, WaitError> {
        wait_with_bar(&tasks, time, label.into())?;
        tasks.__completed()
    }

    /// Implements `wait_settled!` with `progress`.
    #[track_caller]
    pub fn settled<W: Waitable>(tasks: W, label: impl Into<Cow<'static, str>>) -> W::Settled {
        // Without a limit, the wait can't fail.
        let _ = wait_with_bar(&tasks, wait::entry::NO_LIMIT, label.into());
        tasks.__settled()
    }
}

#[track_caller]
fn wait_with_bar<W: Waitable>(
    tasks: &W,
    time: impl WaitTime,
    label: Cow<'static, str>,
) -> Result<(), WaitError> {
    let mut meter = Meter::new(0);
    if meter.is_some() {
        let mut number = 0;
        tasks.__each(&mut |task| {
            meter.add(number, || task.erased_task().0);
            number += 1;
        });
        meter.show(label, Some(number as u64));
    }
    wait::wait_all(tasks, time)
}

#[cfg(feature = "progress")]
impl<T: TaskHandle> AsCompleted<T> {
    /// Shows a progress bar until the iterator returns `None` or is dropped.
    ///
    /// The bar counts the tasks that have ended, of all, whether or not their outcomes have been
    /// returned. See [`progress`](crate::progress).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, as_completed};
    /// let sup = Supervisor::builder().build();
    /// let tasks: Vec<_> = (0..100_u32).map(|n| sup.spawn(move || n)).collect();
    /// let mut sum = 0;
    /// for (_, outcome) in as_completed(tasks).progress("adding") {
    ///     sum += outcome.unwrap();
    /// }
    /// assert_eq!(sum, 4950);
    /// ```
    pub fn progress(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.meter.end();
        let mut meter = Meter::new(self.total - self.in_flight.len());
        for (slot, task) in self.in_flight.iter() {
            meter.add(slot, || task.erased_task().0);
        }
        meter.show(label.into(), Some(self.total as u64));
        self.meter = meter;
        self
    }
}

#[cfg(feature = "progress")]
impl<S, K, R, I, O> Window<S, K, R, I, O>
where
    S: Iterator<Item = (K, TaskBuilder<R, I, O>)>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    fn show_progress(&mut self, label: Cow<'static, str>) {
        self.meter.end();
        let returned = self.launched - self.in_flight.len();
        let mut meter = Meter::new(returned);
        for (slot, task) in self.in_flight.iter() {
            meter.add(slot, || task.erased().clone());
        }
        let total = match self.size_hint() {
            (least, Some(most)) if least == most => {
                Some((returned as u64).saturating_add(most as u64))
            }
            _ => None,
        };
        meter.show(label, total);
        self.meter = meter;
    }
}

#[cfg(feature = "progress")]
impl<S, R, I, O> Bounded<S, R, I, O>
where
    S: Iterator<Item = TaskBuilder<R, I, O>>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    /// Shows a progress bar until the iterator returns `None` or is dropped.
    ///
    /// The bar counts the tasks that have ended, whether or not their outcomes have been returned.
    /// If the `size_hint` of the builders' iterator is exact at the time of this call, the bar shows
    /// the total number of tasks as well, otherwise their rate. See [`progress`](crate::progress).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, bounded};
    /// let squares = (0..1000_u64).map(|n| TaskBuilder::new(move || n * n));
    /// let mut sum = 0;
    /// for (_, square) in bounded(8, squares).progress("squaring") {
    ///     sum += square.unwrap();
    /// }
    /// assert_eq!(sum, 332_833_500);
    /// ```
    pub fn progress(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.window.show_progress(label.into());
        self
    }
}

#[cfg(feature = "progress")]
impl<S, K, R, I, O> BoundedBy<S, K, R, I, O>
where
    S: Iterator<Item = (K, TaskBuilder<R, I, O>)>,
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    /// Shows a progress bar until the iterator returns `None` or is dropped, as
    /// [`Bounded::progress`] does.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, bounded_by};
    /// let squares = (0..1000_u64).map(|n| (n, TaskBuilder::new(move || n * n)));
    /// for (n, square) in bounded_by(8, squares).progress("squaring") {
    ///     assert_eq!(square.unwrap(), n * n);
    /// }
    /// ```
    pub fn progress(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.window.show_progress(label.into());
        self
    }
}

#[cfg(feature = "progress")]
impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Task<R, I, O> {
    /// Shows a progress bar until the task has ended.
    ///
    /// The bar shows what the task reports by [`TaskContext::progress`](crate::TaskContext::progress)
    /// and [`message`](crate::TaskContext::message); a spinner while the task reports no total.
    /// It belongs to the task and not to this handle: it stays if the handle is dropped or
    /// [detached](Self::detach), and disappears when the task ends, however it ends. `wait`, `join`
    /// and `.await` return after the bar was cleared. A further call replaces the bar. See
    /// [`progress`](crate::progress).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| {
    ///     for n in 1..=100 {
    ///         ctx.progress(n, 100);
    ///     }
    /// })
    /// .start()
    /// .show_progress("counting");
    /// task.join().unwrap();
    /// ```
    pub fn show_progress(self, label: impl Into<Cow<'static, str>>) -> Self {
        if super::is_visible() && !self.is_completed() {
            let task = self.erased().clone();
            let spec = Spec { label: label.into(), source: Source::task(&task) };
            if let Some(bar) = DISPLAY.add(spec, Some(self.id())) {
                // After the bar exists, because the task may end at any moment.
                EndWaker::watch(&task, AtEnd::Remove(bar));
            }
        }
        self
    }
}
