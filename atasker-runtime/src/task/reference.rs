//! The untyped handle of a task, found by id and freely cloned.

use std::any::TypeId;
use std::fmt;

use crate::error::{KillError, TaskError};
use crate::fork;
use crate::id::TaskId;
use crate::info::{TaskInfo, TaskStatus};
use crate::progress;
use crate::task::cloning::Cloning;
use crate::task::handle::Task;
use crate::task::header::refresh;
use crate::task::wait::wait_end;
use crate::task::{TaskArc, control};

/// An untyped handle of a task, found by id with [`Supervisor::task`](crate::Supervisor::task).
///
/// The reference keeps the outcome of the task alive, and can be converted into a typed handle.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, Task, TaskBuilder, TaskContext};
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
    task: TaskArc,
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
    pub(crate) fn new(task: TaskArc) -> Self {
        task.header().state.set_referenced();
        TaskRef { task }
    }

    /// Returns the id of the task.
    pub fn id(&self) -> TaskId {
        self.task.header().id()
    }

    /// Returns a snapshot of everything known about the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// assert_eq!(found.info().id, task.id());
    /// found.stop();
    /// # task.join().unwrap();
    /// ```
    pub fn info(&self) -> TaskInfo {
        refresh(&*self.task);
        self.task.header().info()
    }

    /// Returns the status of the task.
    pub fn status(&self) -> TaskStatus {
        refresh(&*self.task);
        self.task.header().status()
    }

    /// Returns whether the task has ended, successfully or not.
    pub fn is_completed(&self) -> bool {
        self.task.header().state.read().is_ended()
    }

    /// Returns the error if the task has failed.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// task.stop();
    /// found.wait().unwrap();
    /// assert!(found.error().is_none());
    /// ```
    pub fn error(&self) -> Option<&TaskError> {
        self.task.error()
    }

    /// Waits for the end of the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// task.stop();
    /// found.wait().unwrap();
    /// assert!(found.is_completed());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error with which the task ended.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to block.
    #[track_caller]
    pub fn wait(&self) -> Result<(), TaskError> {
        wait_end(&self.task, None);
        if !self.is_completed() {
            // The task runs on in the parent process, from which this process was forked.
            return Err(fork::error());
        }
        progress::end_of(|| self.id());
        self.task.error().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Asks the task to stop. A task that has not begun is canceled.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// found.stop();
    /// assert!(task.join().unwrap());
    /// ```
    pub fn stop(&self) {
        control::stop(&self.task);
    }

    /// Cancels the task and returns `true` if it has not begun. Otherwise asks it to stop and
    /// returns `false`.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// if found.cancel() {
    ///     println!("the task never runs");
    /// }
    /// # let _ = task.join();
    /// ```
    pub fn cancel(&self) -> bool {
        control::cancel(&self.task)
    }

    /// Cancels the task without blocking. See [`Task::cancel_async`].
    pub async fn cancel_async(&self) -> bool {
        control::cancel_async(&self.task).await
    }

    /// Ends the task. See [`Task::kill`].
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// assert!(found.kill().is_err() || found.is_completed()); // a thread can't be killed
    /// found.stop();
    /// # let _ = task.join();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`KillError::Unsupported`] for a task that runs on a thread, of a node as well, and
    /// [`KillError::Unreachable`] if the cluster of a remote task has not answered within five seconds.
    pub fn kill(&self) -> Result<(), KillError> {
        control::kill(&self.task)
    }

    /// Returns a clone of the outcome. Returns `None` if the task has not ended, if its result has
    /// another type, or if the typed handle has moved the result out.
    ///
    /// `R::clone` runs on this thread, without any lock of the library, and can use the task
    /// itself. While it runs, moving the result out (`join`, `.await`) waits for it, except from
    /// within that `clone`, where `join` panics. Nested clones of one result are limited to a depth
    /// of 64; beyond that the method returns `None`.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// assert!(found.result_cloned::<bool>().is_none());
    /// found.stop();
    /// found.wait().unwrap();
    /// assert_eq!(found.result_cloned::<bool>().unwrap().unwrap(), true);
    /// ```
    pub fn result_cloned<R>(&self) -> Option<Result<R, TaskError>>
    where
        R: Clone + Sync + Send + 'static,
    {
        if !self.task.returns(TypeId::of::<R>()) {
            return None;
        }
        if let Some(error) = self.task.error() {
            return Some(Err(error.clone()));
        }
        let _cloning = Cloning::begin(self.id())?;
        let mut copy = None;
        self.task.with_value(&mut |value| copy = value.downcast_ref::<R>().cloned());
        copy.map(Ok)
    }

    /// Converts the reference into the typed handle, if none exists and the types match. Messages
    /// of the task, which were rejected while there was no handle, can be received again.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, Task, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::<u32>::with_context(|ctx: &TaskContext<u32>| ctx.recv().unwrap())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// // The typed handle exists.
    /// let found = found.typed::<Task<u32, u32>>().unwrap_err();
    /// drop(task);
    /// let task: Task<u32, u32> = found.typed().unwrap();
    /// task.send(42).unwrap();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the reference if a typed handle exists or the types don't match.
    pub fn typed<T: TypedTask>(self) -> Result<T, TaskRef> {
        T::from_ref(self)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The types that [`TaskRef::typed`] can create: `Task<R, I, O>`.
///
/// This trait is sealed.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Task, TaskRef, TypedTask};
/// /// Takes over a task that another part of the program has launched.
/// fn take_over<T: TypedTask>(found: TaskRef) -> Option<T> {
///     found.typed().ok()
/// }
/// # let task = atasker::supervisor().spawn(|| 42);
/// # let found = task.to_ref();
/// # drop(task);
/// let task: Task<i32> = take_over(found).unwrap();
/// assert_eq!(task.join().unwrap(), 42);
/// ```
pub trait TypedTask: sealed::Sealed + Sized {
    #[doc(hidden)]
    fn from_ref(task: TaskRef) -> Result<Self, TaskRef>;
}

impl<R, I, O> sealed::Sealed for Task<R, I, O> {}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> TypedTask for Task<R, I, O> {
    fn from_ref(reference: TaskRef) -> Result<Self, TaskRef> {
        let task = &reference.task;
        let channels = task.header().channels();
        let is_right = match channels {
            None => is_unit::<I>() && is_unit::<O>(),
            Some(channels) => channels.of_types::<I, O>().is_some(),
        };
        if !is_right {
            return Err(reference);
        }
        let Ok(cell) = task.clone().typed::<R>() else {
            return Err(reference);
        };
        if !task.header().state.set_join_interest() {
            return Err(reference);
        }
        // The join interest is ours now. An earlier handle may have moved the result out.
        if task.header().state.read().is_taken() {
            let _ = task.header().state.clear_join_interest();
            return Err(reference);
        }
        if let Some(channels) = channels.filter(|_| !fork::is_copy()) {
            channels.set_receiver(true);
            if channels.are_encoded() {
                task.header().with_place(|place| place.flush_messages(&**task));
            }
        }
        Ok(Task::new(cell))
    }
}

fn is_unit<T: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<()>()
}
