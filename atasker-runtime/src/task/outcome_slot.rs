//! Where a task keeps its outcome.
//!
//! The slot does not know what it contains, which would take another word: the state of the task
//! says whether there is an outcome, whether it is a result or an error, and whether a result was
//! moved out. So all access is unsafe, and the cell shows that the state permits it.

use std::mem::ManuallyDrop;

use crate::error::TaskError;
use crate::sync::UnsafeCell;

/// An outcome, or none.
pub(super) struct OutcomeSlot<R>(UnsafeCell<Stored<R>>);

union Stored<R> {
    nothing: (),
    value: ManuallyDrop<R>,
    /// Boxed, because errors are rare and larger than most results.
    error: ManuallyDrop<Box<TaskError>>,
}

impl<R> OutcomeSlot<R> {
    pub(super) fn new() -> Self {
        OutcomeSlot(UnsafeCell::new(Stored { nothing: () }))
    }

    /// Stores an outcome.
    ///
    /// # Safety
    ///
    /// The slot is empty, and no other thread accesses it.
    pub(super) unsafe fn store(&self, outcome: Result<R, TaskError>) {
        let stored = match outcome {
            Ok(value) => Stored { value: ManuallyDrop::new(value) },
            Err(error) => Stored { error: ManuallyDrop::new(Box::new(error)) },
        };
        self.0.with_mut(|slot| {
            // SAFETY: the caller guarantees it.
            unsafe { slot.write(stored) }
        });
    }

    /// Returns the result.
    ///
    /// # Safety
    ///
    /// The slot contains a result, which is not moved out as long as the reference lives.
    pub(super) unsafe fn value(&self) -> &R {
        // SAFETY: the caller guarantees it.
        self.0.with(|slot| unsafe { &*(*slot).value })
    }

    /// Returns the error.
    ///
    /// # Safety
    ///
    /// The slot contains an error, which is not moved out as long as the reference lives.
    pub(super) unsafe fn error(&self) -> &TaskError {
        // SAFETY: the caller guarantees it.
        self.0.with(|slot| unsafe { &**(*slot).error })
    }

    /// Moves the result out, which leaves the slot empty.
    ///
    /// # Safety
    ///
    /// The slot contains a result, and no other thread accesses it.
    #[inline]
    pub(super) unsafe fn take_value(&self) -> R {
        // SAFETY: the caller guarantees it.
        self.0.with_mut(|slot| unsafe { ManuallyDrop::take(&mut (*slot).value) })
    }

    /// Moves the error out, which leaves the slot empty.
    ///
    /// # Safety
    ///
    /// The slot contains an error, and no other thread accesses it.
    pub(super) unsafe fn take_error(&self) -> TaskError {
        // SAFETY: the caller guarantees it.
        self.0.with_mut(|slot| unsafe { *ManuallyDrop::take(&mut (*slot).error) })
    }
}
