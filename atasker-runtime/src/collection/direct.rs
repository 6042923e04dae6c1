//! Functions that run in the caller's thread.

use std::fmt;

use super::functions::{Entry, Functions};
use super::priority::CollectionPriority;
use super::report::CollectionReport;
use super::turn::Frame;
use crate::error::TaskError;
use crate::task::panic;

/// Functions that are run together, one by one, in the thread of the caller.
///
/// The order is by [priority](CollectionPriority), the lower number first; equal ones run in the
/// order in which they were added. Functions may run any number of times. `add`, `remove` and
/// `on_error` need no `mut`, so a collection may be a static; and a static one may be filled from
/// all over the program, by `#[collect]`.
///
/// ```
/// use atasker_runtime::{FunctionCollection, Priority};
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
///
/// # Several executions
///
/// An execution runs the functions that were there when it began: what is added or removed
/// meanwhile counts for the next. A function never runs twice at once. Where executions meet (in
/// several threads, or as a function executes its own collection), the one that comes to a function
/// that runs already waits until it has returned; where that would be for ever, because that
/// function waits for this very execution, its result is
/// [`TaskError::NotStarted`], and the execution goes on.
///
/// What a function waits for by other means (a task, a lock) is not seen: one that waits for a
/// thread or a task that executes its collection waits for ever.
pub struct FunctionCollection<T> {
    functions: Functions<T>,
}

impl<T> FunctionCollection<T> {
    /// An empty one.
    pub const fn new() -> Self {
        FunctionCollection { functions: Functions::new() }
    }
}

impl<T: 'static> FunctionCollection<T> {
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

    /// Calls `f` with the name of each function that does not return, and the reason. It is called
    /// in the thread of `execute`, before the next function runs.
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

    /// Runs all functions, one by one, in this thread. One that panics is an error in the report; the
    /// rest run all the same.
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to wait for a function that runs in another
    /// thread.
    #[track_caller]
    pub fn execute(&self) -> CollectionReport<T> {
        let inside = Frame::current();
        let mut results = Vec::new();
        for entry in self.functions.all() {
            // A turn is waited for outside of `catch`: that it must not block is the caller's fault.
            let turn = entry.turn(inside.clone());
            let result = turn.and_then(|turn| panic::catch(|| entry.run(turn)));
            results.push((entry.name.to_string(), self.functions.told(&entry.name, result)));
        }
        CollectionReport::new(results)
    }
}

impl<T> Default for FunctionCollection<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> fmt::Debug for FunctionCollection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FunctionCollection").field(&self.functions).finish()
    }
}

impl<T: 'static> super::Collection for FunctionCollection<T> {
    type Output = T;
    #[allow(clippy::declare_interior_mutable_const)]
    const NEW: Self = Self::new();

    fn functions(&self) -> &Functions<T> {
        &self.functions
    }
}
