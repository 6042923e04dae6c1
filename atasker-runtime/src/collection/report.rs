//! What came of an execution.

use crate::error::TaskError;

/// What the functions of a collection have returned.
///
/// ```
/// use atasker_runtime::{FunctionCollection, Priority};
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
pub struct CollectionReport<T> {
    /// The functions' names with what they returned, or why they did not, in the order of execution.
    pub results: Vec<(String, Result<T, TaskError>)>,
    /// Every function has returned.
    ///
    /// An `Err` that a function itself returns is a result, here as everywhere; see
    /// [`none_failed`](Self::none_failed) for functions that return a `Result`.
    pub all_ok: bool,
}

impl<T> CollectionReport<T> {
    pub(super) fn new(results: Vec<(String, Result<T, TaskError>)>) -> Self {
        let all_ok = results.iter().all(|(_, result)| result.is_ok());
        CollectionReport { results, all_ok }
    }

    /// The functions that did not return, and why, in the order of execution.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &TaskError)> {
        self.results.iter().filter_map(|(name, result)| Some((&**name, result.as_ref().err()?)))
    }

    /// What the function of that name returned; `None` if none has that name.
    pub fn get(&self, name: &str) -> Option<&Result<T, TaskError>> {
        self.results.iter().find(|(other, _)| other == name).map(|(_, result)| result)
    }
}

impl<T, E> CollectionReport<Result<T, E>> {
    /// Every function has returned, and none of them an `Err`.
    pub fn none_failed(&self) -> bool {
        self.results.iter().all(|(_, result)| matches!(result, Ok(Ok(_))))
    }
}
