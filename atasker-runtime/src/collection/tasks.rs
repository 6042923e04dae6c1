//! Collections whose functions run as tasks.

use std::fmt;
use std::sync::Arc;

use crate::sync::lock::Mutex;

use super::collected::Collection;
use super::functions::{Entry, Functions};
use super::methods::collection;
use super::priority::CollectionPriority;
use super::reentrancy::CallFrame;
use super::report::CollectionReport;
use crate::error::TaskError;
use crate::fork;
use crate::launch::TaskBuilder;
use crate::supervisor::{Supervisor, supervisor};
use crate::task::handle::Task;

/// Functions that are run together, as tasks on the pool threads of a supervisor.
///
/// Functions are launched in the order of their [priorities](CollectionPriority), lower numbers
/// first, and in the order in which they were added if these are equal. The pool runs as many of
/// them at once as it has slots. Each task has the name of its function and the
/// [`Priority`](crate::Priority) with the [nearest](CollectionPriority::class) value.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Priority, TaskCollection};
///
/// static STARTUP: TaskCollection<i32> = TaskCollection::new();
///
/// STARTUP.add("caches", Priority::Low, || 3);
/// STARTUP.add("config", 10, || 1);
/// let report = STARTUP.execute();
/// assert_eq!(report.results, [("config".to_string(), Ok(1)), ("caches".to_string(), Ok(3))]);
/// assert!(report.all_ok);
/// ```
///
/// Otherwise this works as [`FunctionCollection`](crate::FunctionCollection): functions can run any
/// number of times, an execution runs those present when it begins, and none runs twice at once. A
/// task that has to wait for its function releases its slot meanwhile.
pub struct TaskCollection<T> {
    functions: Functions<T>,
    supervisor: Mutex<Option<Supervisor>>,
}

collection!(TaskCollection, Send + 'static);

impl<T> TaskCollection<T> {
    /// Creates an empty collection for tasks of the default supervisor.
    pub const fn new() -> Self {
        TaskCollection { functions: Functions::new(), supervisor: Mutex::new(None) }
    }

    /// Sets the supervisor of the tasks.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Priority, Supervisor, TaskCollection};
    /// let batch = Supervisor::builder().id("batch").build();
    /// let nightly = TaskCollection::new().supervisor(&batch);
    /// nightly.add("vacuum", Priority::Normal, || "done");
    /// assert_eq!(nightly.execute().results[0].1, Ok("done"));
    /// ```
    #[must_use = "the collection is moved into this method and returned by it"]
    pub fn supervisor(self, supervisor: &Supervisor) -> Self {
        self.set_supervisor(supervisor);
        self
    }

    /// Sets the supervisor of the tasks, of which the collection keeps a handle. For a static; see
    /// [`supervisor`](Self::supervisor).
    pub fn set_supervisor(&self, supervisor: &Supervisor) {
        if fork::is_copy() {
            return;
        }
        let old = self.supervisor.lock().replace(supervisor.clone());
        // May be the last handle, and stop the previous supervisor.
        drop(old);
    }
}

/// A task with the name of its function.
struct Launched<T>(Arc<str>, Task<Result<T, TaskError>>);

impl<T: Send + 'static> TaskCollection<T> {
    fn launch(&self) -> Vec<Launched<T>> {
        let caller = CallFrame::current();
        let chosen = self.supervisor.lock().clone();
        let supervisor = chosen.as_ref().unwrap_or_else(|| supervisor());
        let launch = |entry: Entry<T>| {
            let (name, caller) = (Arc::clone(&entry.name), caller.clone());
            let priority = entry.priority.class();
            let task = TaskBuilder::new(move || Ok(entry.run(entry.acquire(caller)?)))
                .name(name.to_string())
                .priority(priority)
                .supervisor(supervisor)
                .returned_err(Result::is_err)
                .start();
            Launched(name, task)
        };
        self.functions.all().into_iter().map(launch).collect()
    }

    fn report(
        &self,
        name: &str,
        outcome: Result<Result<T, TaskError>, TaskError>,
    ) -> (String, Result<T, TaskError>) {
        (name.to_owned(), self.functions.report(name, outcome.and_then(|result| result)))
    }

    /// Launches all functions and waits for all of them. A panic is an error in the report; the
    /// remaining functions still run.
    ///
    /// Within a task, the slot is released meanwhile, so this works even in a pool with one slot.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop. Use [`execute_async`](Self::execute_async) there.
    #[track_caller]
    pub fn execute(&self) -> CollectionReport<T> {
        if fork::is_copy() {
            return CollectionReport::refused();
        }
        let mut results = Vec::new();
        for Launched(name, task) in self.launch() {
            results.push(self.report(&name, task.join()));
        }
        CollectionReport::new(results)
    }

    /// Launches all functions and waits for all of them, on any executor. The tasks are launched by
    /// the first poll.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, the tasks run on, and their errors are not
    /// reported.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskCollection;
    /// # #[cfg(feature = "async")] {
    /// static STARTUP: TaskCollection<u8> = TaskCollection::new();
    /// STARTUP.add("one", 1, || 1);
    /// let aloop = atasker::supervisor().create_aloop("main");
    /// assert!(aloop.run(async { STARTUP.execute_async().await.all_ok }));
    /// # }
    /// ```
    pub async fn execute_async(&self) -> CollectionReport<T> {
        if fork::is_copy() {
            return CollectionReport::refused();
        }
        let mut results = Vec::new();
        for Launched(name, task) in self.launch() {
            results.push(self.report(&name, task.await));
        }
        CollectionReport::new(results)
    }
}
