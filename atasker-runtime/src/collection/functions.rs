//! The functions of one collection, and whom it tells of errors.

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::collected;
use super::priority::CollectionPriority;
use super::turn::{Frame, FunctionId, Turn};
use crate::error::TaskError;
use crate::task::panic;

/// What both kinds of collections hold.
///
/// Nothing of the user's runs under the lock, destructors included.
pub struct Functions<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// In the order of execution.
    entries: Vec<Entry<T>>,
    on_error: Option<Arc<OnError>>,
    /// What `#[collect]` has gathered is among the entries.
    loaded: bool,
}

type OnError = dyn Fn(&str, &TaskError) + Send + Sync;

/// A function with its name and its place in the order.
pub(super) struct Entry<T> {
    pub(super) name: Arc<str>,
    pub(super) priority: CollectionPriority,
    pub(super) function: Arc<Function<T>>,
}

/// It runs by [`Turn`]s, so nobody ever waits for its lock.
pub(super) struct Function<T> {
    id: FunctionId,
    f: Mutex<Box<dyn FnMut() -> T + Send>>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Entry {
            name: Arc::clone(&self.name),
            priority: self.priority,
            function: Arc::clone(&self.function),
        }
    }
}

impl<T> Entry<T> {
    pub(super) fn new(
        name: &str,
        priority: CollectionPriority,
        f: impl FnMut() -> T + Send + 'static,
    ) -> Self {
        let function = Function { id: FunctionId::next(), f: Mutex::new(Box::new(f)) };
        Entry { name: name.into(), priority, function: Arc::new(function) }
    }

    /// Waits until nobody else runs the function.
    ///
    /// # Errors
    /// If that would never be.
    #[track_caller]
    pub(super) fn turn(&self, inside: Option<Arc<Frame>>) -> Result<Turn, TaskError> {
        Turn::take(self.function.id, inside).ok_or_else(|| {
            TaskError::not_started(format!(
                "`{}` runs already, and would wait for itself: \
                 a function of it executes the collection in which it stands",
                self.name
            ))
        })
    }

    /// Runs the function, whose turn it is.
    pub(super) fn run(&self, turn: Turn) -> T {
        turn.run(|| (self.function.f.lock())())
    }
}

impl<T> Functions<T> {
    pub(super) const fn new() -> Self {
        Functions {
            state: Mutex::new(State { entries: Vec::new(), on_error: None, loaded: false }),
        }
    }
}

impl<T: 'static> Functions<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        let state = self.state.lock();
        if state.loaded {
            return state;
        }
        // Priorities and names of collected functions are expressions of the user's.
        drop(state);
        let collected = collected::gather(self);
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.loaded, true) {
            state.entries = collected;
        }
        state
    }

    pub(super) fn add(&self, new: Entry<T>) {
        let mut state = self.state();
        let replaced = take(&mut state.entries, &new.name);
        let place = state.entries.partition_point(|entry| entry.priority <= new.priority);
        state.entries.insert(place, new);
        drop(state);
        drop(replaced);
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        let removed = take(&mut self.state().entries, name);
        !removed.is_empty()
    }

    pub(super) fn set_on_error(&self, f: impl Fn(&str, &TaskError) + Send + Sync + 'static) {
        let old = self.state().on_error.replace(Arc::new(f));
        drop(old);
    }

    /// All of them, in the order of execution, as they are at this moment.
    pub(super) fn all(&self) -> Vec<Entry<T>> {
        self.state().entries.clone()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.state().entries.iter().map(|entry| entry.name.to_string()).collect()
    }

    /// Tells of an error, by the user's function or by a line in the log.
    pub(super) fn told<R>(&self, name: &str, result: Result<R, TaskError>) -> Result<R, TaskError> {
        if let Err(error) = &result {
            let on_error = self.state().on_error.clone();
            match on_error {
                Some(on_error) => {
                    if let Err(panicked) = panic::catch(|| on_error(name, error)) {
                        tracing::error!(
                            target: "atasker", function = name, error = %panicked,
                            "`on_error` of a collection panicked"
                        );
                    }
                }
                None => tracing::error!(
                    target: "atasker", function = name, %error,
                    "a function of a collection failed"
                ),
            }
        }
        result
    }
}

/// Takes out what has that name: more than one only where the attribute gathered several.
fn take<T>(entries: &mut Vec<Entry<T>>, name: &str) -> Vec<Entry<T>> {
    entries.extract_if(.., |entry| &*entry.name == name).collect()
}

impl<T: 'static> fmt::Debug for Functions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.all();
        f.debug_map()
            .entries(entries.iter().map(|entry| (&entry.name, entry.priority.value())))
            .finish()
    }
}
