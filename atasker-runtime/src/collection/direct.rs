//! Collections whose functions run in the caller's thread.

use std::fmt;

use super::collected::Collection;
use super::functions::{Entry, Functions};
use super::methods::collection;
use super::priority::CollectionPriority;
use super::reentrancy::CallFrame;
use super::report::CollectionReport;
use crate::error::TaskError;
use crate::fork;
use crate::unwind;

/// Functions that are run together, one by one, in the thread of the caller.
///
/// Functions run in the order of their [priorities](CollectionPriority), lower numbers first, and
/// in the order in which they were added if these are equal. They can run any number of times.
/// `add`, `remove` and `on_error` take `&self`, so a collection can be a static. `#[collect]` adds
/// functions from anywhere in the program to a static collection.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{FunctionCollection, Priority};
///
/// static SHUTDOWN: FunctionCollection<u32> = FunctionCollection::new();
///
/// SHUTDOWN.add("close", 150, || 2);
/// SHUTDOWN.add("flush", Priority::High, || 1);
/// SHUTDOWN.add("log", Priority::Low, || panic!("the disk is full"));
/// SHUTDOWN.on_error(|name, error| eprintln!("{name}: {error}"));
///
/// let report = SHUTDOWN.execute();
/// let names: Vec<&str> = report.results.iter().map(|(name, _)| name.as_str()).collect();
/// assert_eq!(names, ["flush", "close", "log"]);
/// assert_eq!(report.results[0].1, Ok(1));
/// assert!(report.results[2].1.as_ref().unwrap_err().is_panic());
/// assert!(!report.all_ok);
/// ```
/// # Concurrent executions
///
/// An execution runs the functions present when it begins. Functions added or removed meanwhile
/// affect the next one. A function never runs twice at once. If two executions meet at a function,
/// on several threads or because a function executes its own collection, the later one waits until
/// the function returns. If that would wait forever, because the function waits for this very
/// execution, its result is [`TaskError::NotStarted`] and the execution continues.
///
/// Waits by other means (for a task, for a lock) are not detected: a function that waits for a
/// thread or task that executes its collection waits forever.
pub struct FunctionCollection<T> {
    functions: Functions<T>,
}

collection!(FunctionCollection, 'static);

impl<T> FunctionCollection<T> {
    /// Creates an empty collection.
    pub const fn new() -> Self {
        FunctionCollection { functions: Functions::new() }
    }
}

impl<T: 'static> FunctionCollection<T> {
    /// Runs all functions, one by one, in this thread. A panic is an error in the report; the
    /// remaining functions still run.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::FunctionCollection;
    /// let checks = FunctionCollection::new();
    /// checks.add("disk", 1, || true);
    /// let report = checks.execute();
    /// assert!(report.all_ok);
    /// assert_eq!(report.results[0], ("disk".to_owned(), Ok(true)));
    /// ```
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to wait for a function that runs in
    /// another thread.
    #[track_caller]
    pub fn execute(&self) -> CollectionReport<T> {
        if fork::is_copy() {
            return CollectionReport::refused();
        }
        let caller = CallFrame::current();
        let mut results = Vec::new();
        for entry in self.functions.all() {
            // Outside of `catch`, because blocking an aloop is an error of the caller.
            let permit = entry.acquire(caller.clone());
            let result = permit.and_then(|permit| unwind::catch(|| entry.run(permit)));
            results.push((entry.name.to_string(), self.functions.report(&entry.name, result)));
        }
        CollectionReport::new(results)
    }
}
