//! Tasks that are waited for in the order of their completion, each with a key of the waiter.
//!
//! `as_completed`, `bounded`, `bounded_by` and `TaskSet` consist of these. [`InFlight::wait`] is where
//! their threads block.

use std::task::{Context, Poll};

use super::ready::Arrivals;
use super::waitable::TaskHandle;
use super::waitable::sealed::Handle;
use crate::fork;
use crate::limit;
use crate::task::header::Header;
use crate::task::{TaskArc, control, park};

/// See the module's documentation.
pub(crate) struct InFlight<K, T: Handle> {
    /// `None` for a slot that is free.
    slots: Vec<Option<(K, T)>>,
    free: Vec<usize>,
    arrivals: Arrivals,
    pub(crate) at_drop: AtDrop,
}

/// What the drop of the waiter does to its tasks, before it drops their handles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AtDrop {
    Nothing,
    Cancel,
    Kill,
}

impl<K, T: Handle> InFlight<K, T> {
    pub(super) fn new() -> Self {
        InFlight {
            slots: Vec::new(),
            free: Vec::new(),
            arrivals: Arrivals::new(),
            at_drop: AtDrop::Nothing,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns the tasks with their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let tasks = self.slots.iter().enumerate();
        tasks.filter_map(|(slot, entry)| entry.as_ref().map(|(_, task)| (slot, task)))
    }

    /// Returns the task in this slot, which is not free.
    pub(super) fn task(&self, slot: usize) -> &T {
        task_in(&self.slots, slot)
    }

    fn place(&mut self, key: K, task: T) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some((key, task));
        slot
    }

    /// Adds a task. One that has ended already is yielded before those that ended later. Returns the
    /// slot.
    pub(super) fn push(&mut self, key: K, task: T) -> usize {
        let slot = self.place(key, task);
        let InFlight { slots, arrivals, .. } = self;
        arrivals.add_in_order(slot, |slot| header_in(slots, slot));
        slot
    }

    /// Adds several tasks.
    pub(super) fn extend(&mut self, tasks: impl Iterator<Item = (K, T)>) {
        for (key, task) in tasks {
            let slot = self.place(key, task);
            self.arrivals.add(slot, header_in(&self.slots, slot));
        }
        let InFlight { slots, arrivals, .. } = self;
        arrivals.sort(|slot| header_in(slots, slot));
    }

    fn take(&mut self, slot: usize) -> Option<(K, T)> {
        let entry = self.slots[slot].take()?;
        self.free.push(slot);
        Some(entry)
    }

    /// Takes any of the tasks.
    fn take_first(&mut self) -> Option<(K, T)> {
        let slot = self.slots.iter().position(Option::is_some)?;
        self.take(slot)
    }

    /// Takes all tasks, of which none is waited for any more.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<K, T> {
        self.unwatch();
        self.free.clear();
        // A waker that is being woken at this moment still has a slot of the old ones.
        self.arrivals = Arrivals::new();
        std::mem::take(&mut self.slots).into_iter().flatten().map(|(_, task)| task)
    }

    /// Removes the wakers.
    fn unwatch(&self) {
        for (slot, task) in self.iter() {
            self.arrivals.remove(slot, task.header_ref().0);
        }
    }

    /// Cancels the tasks. Those that run are asked to stop.
    fn cancel(&self) {
        for task in self.waiting_first() {
            control::cancel(&task);
        }
    }

    /// Kills the tasks. Those on threads are asked to stop.
    pub(super) fn kill(&self) {
        for task in self.waiting_first() {
            if control::kill(&task).is_err() {
                control::stop(&task);
            }
        }
    }

    /// Asks the tasks to stop.
    pub(super) fn stop(&self) {
        for task in self.waiting_first() {
            control::stop(&task);
        }
    }

    fn waiting_first(&self) -> impl Iterator<Item = TaskArc> {
        control::waiting_first(self.iter().map(|(_, task)| task.erased_task().0).collect())
    }
}

fn task_in<K, T>(slots: &[Option<(K, T)>], slot: usize) -> &T {
    slots[slot].as_ref().map(|(_, task)| task).expect("a task arrives once")
}

fn header_in<K, T: Handle>(slots: &[Option<(K, T)>], slot: usize) -> &Header {
    task_in(slots, slot).header_ref().0
}

fn headers<K, T: Handle>(slots: &[Option<(K, T)>]) -> impl Iterator<Item = &Header> {
    slots.iter().flatten().map(|(_, task)| task.header_ref().0)
}

impl<K, T: TaskHandle> InFlight<K, T> {
    /// Blocks until a task has ended, and takes it. Returns `None` if there is none.
    #[track_caller]
    pub(super) fn wait(&mut self) -> Option<(K, T::Settled)> {
        if self.len() == 0 {
            return None;
        }
        let (key, task) = if fork::is_copy() {
            // None of them will arrive: each has ended already, or yields the error.
            self.take_first()?
        } else {
            let InFlight { slots, arrivals, .. } = self;
            let lent = limit::lend(headers(slots));
            let slot = park::block_on_or_run_inline(
                None,
                |context| arrivals.poll(context, |slot| header_in(slots, slot)),
                || slots.iter().flatten().any(|(_, task)| task.run_inline()),
            )?;
            drop(lent);
            self.take(slot)?
        };
        Some((key, task.__settled()))
    }

    /// Takes a task that has ended. Ready with `None` if there are no tasks.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<(K, T::Settled)>> {
        if self.len() == 0 {
            return Poll::Ready(None);
        }
        if fork::is_copy() {
            return Poll::Ready(self.take_first().map(|(key, task)| (key, task.__settled())));
        }
        let InFlight { slots, arrivals, .. } = self;
        let Poll::Ready(slot) = arrivals.poll(context, |slot| header_in(slots, slot)) else {
            limit::lend_while_pending(headers(slots));
            return Poll::Pending;
        };
        // Taken out before, because it panics if the result was taken by an earlier `.await`.
        let (key, mut task) = self.take(slot).expect("a task arrives once");
        match task.__poll(context) {
            Poll::Ready(settled) => Poll::Ready(Some((key, settled))),
            Poll::Pending => {
                // Its result is being cloned.
                let same = self.place(key, task);
                debug_assert_eq!(same, slot);
                self.arrivals.put_back(slot);
                Poll::Pending
            }
        }
    }
}

impl<K, T: Handle> Drop for InFlight<K, T> {
    fn drop(&mut self) {
        self.unwatch();
        match self.at_drop {
            AtDrop::Nothing => {}
            AtDrop::Cancel => self.cancel(),
            AtDrop::Kill => self.kill(),
        }
    }
}
