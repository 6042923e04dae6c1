//! Maps: one function applied to many items, in parallel.
//!
//! | file | content |
//! |---|---|
//! | `threads` | maps on the threads of a supervisor |
//! | `helpers` | how many tasks work on such a map |
//! | `parts` | how they divide the items |
//! | `processes` | maps in worker processes |
//! | `chunk` | a part of such a map, in the worker process |
//! | `pace` | how often the time is measured |

#[cfg(has_processes)]
mod chunk;
#[cfg(all(feature = "mp", not(has_processes)))]
#[path = "chunk_disabled.rs"]
mod chunk;
mod helpers;
mod pace;
mod parts;
#[cfg(has_processes)]
mod processes;
mod threads;

#[cfg(feature = "mp")]
pub use chunk::run_chunk;

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::TaskError;
#[cfg(feature = "mp")]
use crate::params::Arg;
use crate::priority::Priority;
#[cfg(feature = "mp")]
use crate::remote::functions::Function;
use crate::supervisor::{Core, Supervisor, supervisor};
#[cfg(feature = "mp")]
use crate::wire::{args::Reader, payload::Payload};

/// Applies `f` to each item on the threads of the default supervisor, and returns the results in
/// the order of the items.
///
/// ```
/// # use atasker_runtime as atasker;
/// let squares = atasker::map(1..=4_u64, |n| n * n);
/// let squares: Result<Vec<u64>, _> = squares.into_iter().collect();
/// assert_eq!(squares.unwrap(), [1, 4, 9, 16]);
/// ```
///
/// Blocks until all items are done. The slot of a pool thread is released meanwhile, so `f` can use
/// `map` itself, in a pool of one thread, too. The macro `map!` does the same with options, and in
/// worker processes.
///
/// The items are divided while they are processed. One task begins. Another one is launched only if
/// the first items have shown that there is more work than it takes to wake a thread, and further
/// ones as long as threads of the pool help. A task whose own items are done takes over half of the
/// items that another one has not begun. So items may differ in length, and short ones cost little
/// more than a call. A task ends as soon as there is nothing left to begin. There are at most as
/// many tasks as the pool has slots; tasks beyond the number of CPUs are launched if the others are
/// blocked, for example by input and output.
///
/// # Errors
///
/// A panic costs its item, which gets [`TaskError::Panicked`]. If the supervisor is stopped or its
/// queue is full, the items that have not begun get the matching error. If the tasks are asked to
/// stop, these items get [`TaskError::Canceled`].
///
/// # Panics
///
/// Panics on the thread of an aloop, which must not block, before it takes the first item. A panic
/// of the iterator is passed on before anything is launched.
#[track_caller]
pub fn map<T, R>(
    items: impl IntoIterator<Item = T>,
    f: impl Fn(T) -> R + Send + Sync + 'static,
) -> Vec<Result<R, TaskError>>
where
    T: Send + 'static,
    R: Send + 'static,
{
    MapOptions::new().threads(items, f)
}

/// The options of a map. Used by generated code.
#[doc(hidden)]
#[derive(Debug)]
pub struct MapOptions {
    supervisor: Option<Supervisor>,
    priority: Priority,
    name: Option<Cow<'static, str>>,
}

impl MapOptions {
    /// The default options.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        MapOptions { supervisor: None, priority: Priority::Normal, name: None }
    }

    /// Sets the supervisor.
    pub fn supervisor(mut self, supervisor: &Supervisor) -> Self {
        self.supervisor = Some(supervisor.clone());
        self
    }

    /// Sets the priority of the tasks.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the name of the tasks.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    fn core(&self) -> Arc<Core> {
        Arc::clone(self.supervisor.as_ref().unwrap_or_else(|| supervisor()).core())
    }

    /// Applies `f` to each item on threads.
    #[track_caller]
    pub fn threads<T, R>(
        self,
        items: impl IntoIterator<Item = T>,
        f: impl Fn(T) -> R + Send + Sync + 'static,
    ) -> Vec<Result<R, TaskError>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        threads::run(items, &f, self)
    }

    /// Applies a function of the function table to each item in worker processes. `encode` encodes
    /// an item, and `decode` decodes a result.
    #[cfg(feature = "mp")]
    #[track_caller]
    pub fn processes<T, R: Send + 'static>(
        self,
        function: &'static Function,
        items: impl IntoIterator<Item = T>,
        encode: impl FnMut(T) -> Result<Payload, TaskError>,
        _: Arg<R>,
        decode: Reader<R>,
    ) -> Vec<Result<R, TaskError>> {
        #[cfg(has_processes)]
        return processes::run(function, items, encode, decode, self);
        #[cfg(not(has_processes))]
        {
            let _ = (function, items, encode, decode);
            unreachable!("this program did not compile: this platform has no worker processes")
        }
    }
}
