//! Launching without blocking: waits for room in a full queue as a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::fork;
use crate::info::TaskType;
use crate::launch::builder::TaskBuilder;
use crate::limit;
use crate::place::{Room, WhenFull};
use crate::room::Launcher;
use crate::supervisor::{Core, inline};
use crate::task::handle::Task;

/// Launches a task once the queue of its pool has room. See [`TaskBuilder::start_async`].
#[must_use = "a future does nothing until it is polled: nothing is launched"]
pub struct StartAsync<R, I = (), O = ()> {
    /// `None` once the task was launched.
    builder: Option<TaskBuilder<R, I, O>>,
    launcher: Option<Launcher>,
    /// Set once the launch had to wait.
    waits: Option<Waits>,
}

/// A launch in the waiting room of a queue, which it leaves at the end.
struct Waits {
    core: Arc<Core>,
    tt: TaskType,
    launcher: Launcher,
}

impl Drop for Waits {
    fn drop(&mut self) {
        if !fork::is_copy() {
            self.core.leave_room(self.tt, self.launcher);
        }
    }
}

/// Room in a queue that is reserved for a launch.
struct Reservation {
    core: Arc<Core>,
    tt: TaskType,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.core.end_reservation(self.tt, self.bytes);
    }
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> TaskBuilder<R, I, O> {
    /// Launches the task as [`start`](Self::start) does, without blocking the thread: if the queue
    /// of the pool is full and its rule is [`Overflow::Block`](crate::Overflow::Block), the future
    /// waits for room.
    ///
    /// This applies inside of tasks and on aloops, too, where `start` admits the task over the
    /// limit. Futures and blocked threads that wait for the same queue get room by the priority of
    /// their tasks, then in the order of their arrival. Everything else is as for `start`: with
    /// [`Overflow::Reject`](crate::Overflow::Reject), the task ends with
    /// [`QueueFull`](crate::TaskError::QueueFull), and if the supervisor stops meanwhile, with
    /// [`SupervisorStopped`](crate::TaskError::SupervisorStopped). A task with a delay waits for its
    /// delay, and not for room.
    ///
    /// The future works on any executor, and launches the task when it is polled.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// # use futures_lite::future::block_on;
    /// use atasker::{Overflow, PoolConfig, Supervisor, TaskBuilder};
    /// # block_on(async {
    /// let config = PoolConfig::new(1).queue_limit(10, Overflow::Block);
    /// let sup = Supervisor::builder().thread_pool(config).build();
    /// let mut tasks = Vec::new();
    /// for n in 0..100_u64 {
    ///     // At most 10 tasks wait at a time, and no thread is blocked.
    ///     tasks.push(TaskBuilder::new(move || n * n).supervisor(&sup).start_async().await);
    /// }
    /// let mut sum = 0;
    /// for task in tasks {
    ///     sum += task.await.unwrap();
    /// }
    /// assert_eq!(sum, 328_350);
    /// # });
    /// ```
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after it has completed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, nothing is launched: no task exists, and
    /// nothing was counted or reported.
    pub fn start_async(self) -> StartAsync<R, I, O> {
        StartAsync { builder: Some(self), launcher: None, waits: None }
    }
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Future for StartAsync<R, I, O> {
    type Output = Task<R, I, O>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Task<R, I, O>> {
        let StartAsync { builder, launcher, waits } = &mut *self;
        let mut reservation = None;
        let to_launch = builder.as_mut().expect("`start_async` was polled after its completion");
        // A launch that runs its task needs no room.
        let queueable = if inline::is_active() { None } else { to_launch.queueable() };
        if let Some((task, core)) = queueable {
            let tt = task.header().tt;
            let has_limit = limit::has_limit(task.header());
            let priority = task.header().priority;
            let launcher = *launcher.get_or_insert_with(|| Launcher::new(priority, has_limit));
            match core.poll_room(task, launcher, context) {
                Poll::Pending => {
                    waits.get_or_insert_with(|| Waits { core: Arc::clone(core), tt, launcher });
                    return Poll::Pending;
                }
                Poll::Ready(Room::ByRule) => {}
                Poll::Ready(Room::Reserved { bytes }) => {
                    reservation = Some(Reservation { core: Arc::clone(core), tt, bytes });
                }
            }
        }
        let builder = builder.take().expect("it was there above");
        let task = builder.start_with(match &reservation {
            Some(_) => WhenFull::Reserved,
            None => WhenFull::NoWait,
        });
        // After the task is in the queue, so that no other launch takes its room.
        drop(reservation);
        *waits = None;
        Poll::Ready(task)
    }
}

impl<R, I, O> Unpin for StartAsync<R, I, O> {}

impl<R, I, O> fmt::Debug for StartAsync<R, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartAsync").field("builder", &self.builder).finish_non_exhaustive()
    }
}
