//! The results of an execution.

use crate::error::TaskError;
use crate::fork;

/// The results of the functions of a collection.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{FunctionCollection, Priority};
/// let shutdown = FunctionCollection::new();
/// shutdown.add("flush", Priority::High, || 3);
/// shutdown.add("close", Priority::Low, || panic!("already closed"));
/// let report = shutdown.execute();
/// assert!(!report.all_ok);
/// assert_eq!(report.get("flush"), Some(&Ok(3)));
/// for (name, error) in report.errors() {
///     eprintln!("{name}: {error}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectionReport<T> {
    /// The names of the functions with their results or errors, in the order of execution.
    pub results: Vec<(String, Result<T, TaskError>)>,
    /// Whether every function has returned.
    ///
    /// A returned `Err` is a result, here as everywhere. See [`none_failed`](Self::none_failed) for
    /// functions that return a `Result`.
    pub all_ok: bool,
}

impl<T> CollectionReport<T> {
    pub(super) fn new(results: Vec<(String, Result<T, TaskError>)>) -> Self {
        let all_ok = results.iter().all(|(_, result)| result.is_ok());
        CollectionReport { results, all_ok }
    }

    /// Returns the report of an execution in a forked process.
    #[cold]
    pub(super) fn refused() -> Self {
        CollectionReport::new(vec![("*".into(), Err(fork::error()))])
    }

    /// Returns the functions that did not return, with the errors, in the order of execution.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &TaskError)> {
        self.results.iter().filter_map(|(name, result)| Some((&**name, result.as_ref().err()?)))
    }

    /// Returns the result of the function with this name.
    pub fn get(&self, name: &str) -> Option<&Result<T, TaskError>> {
        self.results.iter().find(|(other, _)| other == name).map(|(_, result)| result)
    }
}

impl<T, E> CollectionReport<Result<T, E>> {
    /// Returns whether every function has returned, and none of them an `Err`.
    pub fn none_failed(&self) -> bool {
        self.results.iter().all(|(_, result)| matches!(result, Ok(Ok(_))))
    }
}
