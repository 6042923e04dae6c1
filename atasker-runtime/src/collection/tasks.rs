//! Functions that run as tasks.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::functions::{Entry, Functions};
use super::priority::CollectionPriority;
use super::report::CollectionReport;
use super::turn::Frame;
use crate::error::TaskError;
use crate::launcher::TaskBuilder;
use crate::supervisor::{Supervisor, supervisor};
use crate::task::handle::Task;

/// Functions that are run together, as tasks on the pool threads of a supervisor.
///
/// They are launched in the order of their [priorities](CollectionPriority), the lower number first,
/// equal ones in the order in which they were added; the pool runs as many at once as it has slots
/// for. Each task has the function's name, and the [`Priority`](crate::Priority) whose value is
/// [nearest](CollectionPriority::class) to its number.
///
/// ```
/// use atasker_runtime::{Priority, TaskCollection};
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
/// Everything else is as with a [`FunctionCollection`](crate::FunctionCollection): functions may run
/// any number of times, an execution runs those that were there when it began, and none runs twice
/// at once. A task that has to wait for its turn gives its slot up meanwhile.
pub struct TaskCollection<T> {
    functions: Functions<T>,
    supervisor: Mutex<Option<Supervisor>>,
}

impl<T> TaskCollection<T> {
    /// An empty one, for tasks of the default supervisor.
    pub const fn new() -> Self {
        TaskCollection { functions: Functions::new(), supervisor: Mutex::new(None) }
    }

    /// The same with another supervisor.
    ///
    /// ```
    /// use atasker_runtime::{Priority, Supervisor, TaskCollection};
    /// let batch = Supervisor::builder().id("batch").build();
    /// let nightly = TaskCollection::new().supervisor(&batch);
    /// nightly.add("vacuum", Priority::Normal, || "done");
    /// assert_eq!(nightly.execute().results[0].1, Ok("done"));
    /// ```
    pub fn supervisor(self, supervisor: &Supervisor) -> Self {
        self.set_supervisor(supervisor);
        self
    }

    /// From now on the tasks are those of `supervisor`, of which the collection keeps a handle. For
    /// a static; see [`supervisor`](Self::supervisor).
    pub fn set_supervisor(&self, supervisor: &Supervisor) {
        let old = self.supervisor.lock().replace(supervisor.clone());
        // It may be the last handle, and stop the old one.
        drop(old);
    }
}

impl<T: 'static> TaskCollection<T> {
    /// Adds a function. If there is one of that name, this one replaces it, and takes its place as
    /// a newly added one.
    pub fn add(
        &self,
        name: impl AsRef<str>,
        priority: impl Into<CollectionPriority>,
        f: impl FnMut() -> T + Send + 'static,
    ) {
        self.functions.add(Entry::new(name.as_ref(), priority.into(), f));
    }

    /// Takes a function out; false if there is none of that name.
    pub fn remove(&self, name: &str) -> bool {
        self.functions.remove(name)
    }

    /// Calls `f` with the name of each function that has no result, and the reason: it panicked, its
    /// task was canceled, the supervisor is stopped. It is called where `execute` waits, in the order
    /// of the execution.
    ///
    /// Without it, errors are logged at ERROR. A second one replaces the first; one that panics is
    /// logged, and harms nothing.
    pub fn on_error(&self, f: impl Fn(&str, &TaskError) + Send + Sync + 'static) {
        self.functions.set_on_error(f);
    }

    /// The names of the functions, in the order of execution.
    pub fn names(&self) -> Vec<String> {
        self.functions.names()
    }
}

/// A task with the name of its function.
struct Launched<T>(Arc<str>, Task<Result<T, TaskError>>);

impl<T: Send + 'static> TaskCollection<T> {
    fn launch(&self) -> Vec<Launched<T>> {
        let inside = Frame::current();
        let chosen = self.supervisor.lock().clone();
        let supervisor = chosen.as_ref().unwrap_or_else(|| supervisor());
        let launch = |entry: Entry<T>| {
            let (name, inside) = (Arc::clone(&entry.name), inside.clone());
            let priority = entry.priority.class();
            let task = TaskBuilder::new(move || Ok(entry.run(entry.turn(inside)?)))
                .name(name.to_string())
                .priority(priority)
                .supervisor(supervisor)
                .__returned_err(Result::is_err)
                .start();
            Launched(name, task)
        };
        self.functions.all().into_iter().map(launch).collect()
    }

    fn told(
        &self,
        name: &str,
        outcome: Result<Result<T, TaskError>, TaskError>,
    ) -> (String, Result<T, TaskError>) {
        (name.to_owned(), self.functions.told(name, outcome.and_then(|result| result)))
    }

    /// Launches all functions, and waits for all of them. One that panics is an error in the report;
    /// the rest run all the same.
    ///
    /// Within a task, the slot is given up meanwhile: it works in a pool of one.
    ///
    /// # Panics
    /// On the thread of an aloop: use [`execute_async`](Self::execute_async) there.
    #[track_caller]
    pub fn execute(&self) -> CollectionReport<T> {
        let mut results = Vec::new();
        for Launched(name, task) in self.launch() {
            results.push(self.told(&name, task.join()));
        }
        CollectionReport::new(results)
    }

    /// The same as a future, for any executor. The tasks are launched when it is first polled; if it
    /// is dropped before its end they go on, and nobody is told of their errors.
    ///
    /// ```
    /// use atasker_runtime::TaskCollection;
    /// # #[cfg(feature = "async")] {
    /// static STARTUP: TaskCollection<u8> = TaskCollection::new();
    /// STARTUP.add("one", 1, || 1);
    /// let aloop = atasker_runtime::supervisor().create_aloop("main");
    /// assert!(aloop.run(async { STARTUP.execute_async().await.all_ok }));
    /// # }
    /// ```
    pub async fn execute_async(&self) -> CollectionReport<T> {
        let mut results = Vec::new();
        for Launched(name, task) in self.launch() {
            results.push(self.told(&name, task.await));
        }
        CollectionReport::new(results)
    }
}

impl<T> Default for TaskCollection<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> fmt::Debug for TaskCollection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskCollection").field(&self.functions).finish()
    }
}

impl<T: Send + 'static> super::Collection for TaskCollection<T> {
    type Output = T;
    #[allow(clippy::declare_interior_mutable_const)]
    const NEW: Self = Self::new();

    fn functions(&self) -> &Functions<T> {
        &self.functions
    }
}
