//! Chained tasks: what starts when another task has ended well. How they wait is in `task::chained`.

use crate::info::TaskType;
use crate::launch::builder::{TaskBuilder, build};
use crate::task::chained::Chained;
use crate::task::handle::{OnDrop, Task};
use crate::task::waiters::WaiterKey;

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Task<R, I, O> {
    /// Launches `f` as a task that starts when this one has ended well, with its result.
    ///
    /// The chained task runs on a pool thread of the same supervisor, wherever this one runs, and has
    /// the same name and priority. Until it starts, its status is
    /// [`Delayed`](crate::TaskStatus::Delayed), and it occupies neither a slot nor a thread. It is
    /// queued when this task has ended, regardless of the limit of the queue (unless the queue
    /// [rejects](crate::Overflow::Reject) tasks). An `Err` that this task returns is a result as
    /// well: see [`try_chain`](Task::try_chain).
    ///
    /// If this task does not end well, `f` is dropped, and the chained task ends with the same
    /// error. This includes tasks that are canceled or exceed their time limit.
    ///
    /// While the chained task is delayed, [`stop`](Task::stop), [`cancel`](Task::cancel) and
    /// [`kill`](Task::kill), [`stop_on_drop`](Task::stop_on_drop) and
    /// [`kill_on_drop`](Task::kill_on_drop) cancel it and have the same effect on this task. `kill`
    /// then succeeds, and asks a task that runs on a thread to stop. The chained handle takes over
    /// `stop_on_drop` and `kill_on_drop` of this one.
    ///
    /// A stop of the supervisor waits for the chained task, too, unless this task has itself
    /// requested the stop: the chained task then ends with
    /// [`SupervisorStopped`](crate::TaskError::SupervisorStopped). Messages that this task sends are
    /// rejected from now on, because no handle is left to receive them.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let length = sup.spawn(|| "a page".to_string()).chain(|page| page.len());
    /// assert_eq!(length.join().unwrap(), 6);
    ///
    /// let failed = sup.spawn(|| -> u32 { panic!("no page") }).chain(|page| page + 1);
    /// assert!(failed.join().unwrap_err().to_string().contains("no page"));
    /// ```
    pub fn chain<U: Send + 'static>(self, f: impl FnOnce(R) -> U + Send + 'static) -> Task<U> {
        launch(self, f, |builder| builder)
    }
}

impl<T, E, I, O> Task<Result<T, E>, I, O>
where
    T: Send + 'static,
    E: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    /// Launches `f` as a task that starts when this one has returned an `Ok`, with its value.
    ///
    /// If this task returns an `Err`, the chained task returns the same `Err` without calling `f`.
    /// Everything else is as for [`chain`](Task::chain).
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let parse = |text: &'static str| sup.spawn(move || text.parse::<u8>());
    /// let double = |n: u8| "300".parse::<u8>().or(Ok(2 * n));
    /// assert_eq!(parse("21").try_chain(double).join().unwrap(), Ok(42));
    /// assert!(parse("many").try_chain(double).join().unwrap().is_err());
    /// ```
    pub fn try_chain<U: Send + 'static>(
        self,
        f: impl FnOnce(T) -> Result<U, E> + Send + 'static,
    ) -> Task<Result<U, E>> {
        launch(self, |result| result.and_then(f), |builder| builder.returned_err(Result::is_err))
    }
}

fn launch<R, U, I, O>(
    first: Task<R, I, O>,
    f: impl FnOnce(R) -> U + Send + 'static,
    options: impl FnOnce(TaskBuilder<U>) -> TaskBuilder<U>,
) -> Task<U>
where
    R: Send + 'static,
    U: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    let mut first = first.without_channels();
    let on_drop = first.set_on_drop(OnDrop::Nothing);
    let before = first.erased().clone();
    let link = WaiterKey::next();
    let body = Chained::new(first, link, f);
    let mut chained = options(build(TaskType::Thread, body, (), None)).start_after(&before, link);
    chained.set_on_drop(on_drop);
    chained
}
