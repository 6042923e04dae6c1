//! The untyped handle of a task: found by id, cloned at will.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

use crate::error::{KillError, TaskError};
use crate::id::TaskId;
use crate::info::{TaskInfo, TaskStatus};
use crate::task::cell::Typed;
use crate::task::channel::Links;
use crate::task::handle::Task;
use crate::task::header::refresh;
use crate::task::wait::wait_end;
use crate::task::{AnyTask, verbs};

/// A task without its types: what [`Supervisor::task`](crate::Supervisor::task) finds by id.
///
/// It keeps the task's outcome alive, and can become the typed handle again.
///
/// ```
/// use atasker_runtime::{Supervisor, Task, TaskBuilder, TaskContext};
/// let sup = Supervisor::builder().build();
/// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
///     .supervisor(&sup)
///     .start();
/// let found = sup.task(task.id()).unwrap();
/// found.stop();
/// found.wait().unwrap();
/// assert!(found.result_cloned::<bool>().unwrap().unwrap());
/// drop(task);
/// let typed: Task<bool> = found.typed().unwrap();
/// assert!(typed.join().unwrap());
/// ```
#[derive(Clone)]
pub struct TaskRef {
    task: Arc<dyn AnyTask>,
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRef")
            .field("id", &self.id())
            .field("name", &self.task.header().name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl TaskRef {
    pub(crate) fn new(task: Arc<dyn AnyTask>) -> Self {
        task.header().state.refer();
        TaskRef { task }
    }

    /// Its id.
    pub fn id(&self) -> TaskId {
        self.task.header().id
    }
    /// All that can be told about it.
    pub fn info(&self) -> TaskInfo {
        refresh(&*self.task);
        self.task.header().info()
    }
    /// How far it has come.
    pub fn status(&self) -> TaskStatus {
        refresh(&*self.task);
        self.task.header().status()
    }
    /// Whether it has ended, in whichever way.
    pub fn is_completed(&self) -> bool {
        self.task.header().state.read().is_ended()
    }
    /// The error, once it has ended with one.
    pub fn error(&self) -> Option<&TaskError> {
        self.task.error()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What ended the task, if it has no result.
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to block.
    #[track_caller]
    pub fn wait(&self) -> Result<(), TaskError> {
        wait_end(&self.task, None);
        self.task.error().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Asks the task to stop; one that has not begun is canceled.
    pub fn stop(&self) {
        verbs::stop(&self.task);
    }
    /// Cancels the task if it has not begun: true. Else it is asked to stop.
    pub fn cancel(&self) -> bool {
        verbs::cancel(&self.task)
    }
    /// Ends the task: see [`Task::kill`].
    ///
    /// # Errors
    /// [`KillError::Unsupported`] for a task that runs on a thread.
    pub fn kill(&self) -> Result<(), KillError> {
        verbs::kill(&self.task)
    }

    /// A copy of the outcome: `None` while there is none, if the result is of another type, or if
    /// the typed handle has moved it out.
    pub fn result_cloned<R>(&self) -> Option<Result<R, TaskError>>
    where
        R: Clone + Sync + Send + 'static,
    {
        // Whoever moves the result out takes this lock.
        let _lock = self.task.header().lock_result();
        if !self.task.returns(TypeId::of::<R>()) {
            return None;
        }
        match self.task.error() {
            Some(error) => Some(Err(error.clone())),
            None => Some(Ok(self.task.value_any()?.downcast_ref::<R>()?.clone())),
        }
    }

    /// The typed handle, if nobody else holds it and the types are right.
    ///
    /// # Errors
    /// Gives the reference back.
    pub fn typed<T: TypedTask>(self) -> Result<T, TaskRef> {
        T::from_ref(self)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The types that [`TaskRef::typed`] gives: `Task<R, I, O>`.
pub trait TypedTask: sealed::Sealed + Sized {
    #[doc(hidden)]
    fn from_ref(task: TaskRef) -> Result<Self, TaskRef>;
}

impl<R, I, O> sealed::Sealed for Task<R, I, O> {}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> TypedTask for Task<R, I, O> {
    fn from_ref(reference: TaskRef) -> Result<Self, TaskRef> {
        let task = &reference.task;
        let links = match task.header().links() {
            None if is_unit::<I>() && is_unit::<O>() => None,
            None => return Err(reference),
            Some(links) => {
                let links: Arc<dyn Any + Send + Sync> = links.clone();
                match links.downcast::<Links<I, O>>() {
                    Ok(links) => Some(links),
                    Err(_) => return Err(reference),
                }
            }
        };
        let Ok(cell) = task.clone().typed_any().downcast::<Arc<dyn Typed<R>>>() else {
            return Err(reference);
        };
        if !task.header().state.hold() {
            return Err(reference);
        }
        // We are the one holder now. An earlier one may have moved the result out.
        if task.header().state.read().is_ended() && cell.outcome().is_none() {
            let _ = task.header().state.let_go();
            return Err(reference);
        }
        Ok(Task::new(*cell, links))
    }
}

fn is_unit<T: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<()>()
}
