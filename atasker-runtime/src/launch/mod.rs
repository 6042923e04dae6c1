//! Launches: the way from a call to a task.
//!
//! | file | content |
//! |---|---|
//! | `builder` | the options of a task, and its launch |
//! | `policies` | further options: when a task is run again, expires, or is one too many |
//! | `on_thread`, `on_aloop`, `remote` | the constructors, by the place where the task runs |
//! | `raw` | the tasks of calls that came from other processes |
//! | `start_async` | launches that wait for room in a queue as a future |
//! | `attach` | handles of calls that were launched before |
//! | `chain` | tasks that start when another one has ended |
//! | `scope` | tasks that borrow from their caller |
//! | `map` | one function applied to many items |
//! | `aloop` | the handle to an aloop |
//!
//! A builder makes the one allocation of a task, which holds its function, its state and the
//! storage for its outcome. [`TaskBuilder::start`] hands it to the supervisor as an `Arc<dyn
//! AnyTask>`, so nothing below this module is generic over the user's types.

#[cfg(feature = "remote")]
mod attach;
mod builder;
mod chain;
mod map;
mod on_thread;
mod policies;
mod scope;
mod start_async;

#[cfg(feature = "async")]
mod aloop;
#[cfg(feature = "async")]
mod on_aloop;
#[cfg(feature = "remote")]
pub(crate) mod raw;
#[cfg(feature = "mp")]
mod remote;

#[cfg(feature = "async")]
pub use aloop::Aloop;
#[cfg(feature = "remote")]
pub use attach::ClusterTask;
#[cfg(feature = "remote")]
pub(crate) use attach::attach;
pub use builder::TaskBuilder;
#[cfg(feature = "mp")]
pub use map::run_chunk;
pub use map::{MapOptions, map};
#[cfg(feature = "mp")]
pub(crate) use remote::remote;
#[cfg(feature = "remote")]
pub(crate) use remote::remote_call;
pub use scope::{Scope, ScopedTask, ScopedTaskBuilder, scope};
pub use start_async::StartAsync;
