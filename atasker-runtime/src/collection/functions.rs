//! The functions of one collection, and its error callback.

use std::fmt;
use std::sync::Arc;

use super::priority::CollectionPriority;
use super::reentrancy::{CallFrame, FunctionId, RunPermit};
use super::table::{self, Probe};
use crate::error::TaskError;
use crate::fork;
use crate::lent::Lent;
use crate::sync::lock::{Mutex, MutexGuard};
use crate::unwind::{self, Guarded, log};

/// The state shared by both kinds of collections.
///
/// No user code runs under the lock, destructors included.
pub struct Functions<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// In the order of execution.
    entries: Vec<Entry<T>>,
    on_error: Option<Arc<Guarded<Box<OnError>>>>,
    /// Whether `entries` includes the collected functions.
    loaded: bool,
}

type OnError = dyn Fn(&str, &TaskError) + Send + Sync;

/// A function with its name and position.
pub(super) struct Entry<T> {
    pub(super) name: Arc<str>,
    pub(super) priority: CollectionPriority,
    pub(super) function: Arc<Function<T>>,
}

/// Runs with a [`RunPermit`], which ensures exclusive access.
pub(super) struct Function<T> {
    id: FunctionId,
    f: Lent<Box<dyn FnMut() -> T + Send>>,
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
        let function = Function { id: FunctionId::next(), f: Lent::new(Box::new(f)) };
        Entry { name: name.into(), priority, function: Arc::new(function) }
    }

    /// Waits until the function is not running.
    ///
    /// # Errors
    ///
    /// Returns an error if that would wait forever.
    #[track_caller]
    pub(super) fn acquire(&self, caller: Option<Arc<CallFrame>>) -> Result<RunPermit, TaskError> {
        if fork::is_copy() {
            return Err(fork::error());
        }
        RunPermit::acquire(self.function.id, caller).ok_or_else(|| {
            TaskError::not_started(format!(
                "`{}` is running already and would wait for itself, because it executes the \
                 collection that contains it",
                self.name
            ))
        })
    }

    /// Runs the function.
    pub(super) fn run(&self, permit: RunPermit) -> T {
        permit.run(|| self.function.f.with(|f| f()).expect("the permit gives exclusive access"))
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
        // The priorities and names of collected functions are user expressions.
        drop(state);
        let collected = self.gather();
        let mut state = self.state.lock();
        let gathered_twice = match std::mem::replace(&mut state.loaded, true) {
            false => std::mem::replace(&mut state.entries, collected),
            true => collected,
        };
        if !gathered_twice.is_empty() {
            MutexGuard::unlocked(&mut state, || drop(gathered_twice));
        }
        state
    }

    /// Returns the identity of the collection, which is a static if it has collected functions.
    pub(super) fn address(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// Returns the collected functions of this collection, in the order of execution: by priority,
    /// then by name, then by source location, because the order of the linker is arbitrary.
    fn gather(&self) -> Vec<Entry<T>> {
        let mut entries: Vec<Entry<T>> = Vec::new();
        table::ask(Probe { collection: self.address(), entries: &mut entries });
        entries.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        entries
    }

    pub(super) fn add(&self, new: Entry<T>) {
        if fork::is_copy() {
            return;
        }
        let mut state = self.state();
        let replaced = take(&mut state.entries, &new.name);
        let place = state.entries.partition_point(|entry| entry.priority <= new.priority);
        state.entries.insert(place, new);
        drop(state);
        drop(replaced);
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        if fork::is_copy() {
            return false;
        }
        let removed = take(&mut self.state().entries, name);
        !removed.is_empty()
    }

    pub(super) fn set_on_error(&self, f: impl Fn(&str, &TaskError) + Send + Sync + 'static) {
        if fork::is_copy() {
            return;
        }
        let old = self.state().on_error.replace(Arc::new(Guarded::new(Box::new(f))));
        drop(old);
    }

    /// Returns the current functions, in the order of execution.
    pub(super) fn all(&self) -> Vec<Entry<T>> {
        match fork::is_copy() {
            true => Vec::new(),
            false => self.state().entries.clone(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.all().iter().map(|entry| entry.name.to_string()).collect()
    }

    /// Reports an error to the callback, or logs it.
    pub(super) fn report<R>(
        &self,
        name: &str,
        result: Result<R, TaskError>,
    ) -> Result<R, TaskError> {
        if let Err(error) = &result
            && !fork::is_copy()
        {
            let on_error = self.state().on_error.clone();
            match on_error {
                Some(on_error) => {
                    if let Err(panicked) = unwind::catch(|| on_error(name, error)) {
                        log!(
                            error, function = name, error = %panicked,
                            "`on_error` of a collection panicked"
                        );
                    }
                }
                None => log!(
                    error, function = name, %error,
                    "a function of a collection failed"
                ),
            }
        }
        result
    }
}

/// Removes the entries with this name. There are several only if the attribute was used with the
/// same name more than once.
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
