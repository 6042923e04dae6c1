//! The aloops: the place where futures run. Each aloop is a tokio runtime with dedicated threads.
//!
//! `launch/aloop.rs` contains the public handle.
//!
//! | file | content |
//! |---|---|
//! | `place` | the aloops of a supervisor, and the implementation of `Place` |
//! | `runtime` | one aloop: its tokio runtime and its thread |
//! | `runner` | polls the futures that are ready |
//! | `body` | how the future of a task is created and stored |
//! | `inline` | futures of tasks that are run by their launch, for tests |
//!
//! The future of a task is stored in the allocation of the task, which is also its waker. It is not
//! a tokio task. A launch or a wake pushes the task into the queue of the aloop (`task::future`),
//! at most once, and wakes a runner only if one sleeps. As tokio tasks, futures would cost a second
//! allocation, a list, two locks and a write to an eventfd each: 0.29 instead of 1.06 times the
//! rate of tokio's own `spawn`.
//!
//! Only the aloop polls or drops a future. A kill, a time limit and the end of the aloop schedule
//! the task, and the runner drops the future instead of polling it. The aloop owns the futures that
//! were polled and are still pending, so that dropping the last waker of a future elsewhere doesn't
//! drop the future there.

mod body;
mod inline;
mod place;
mod runner;
mod runtime;

pub(crate) use body::{FutureBody, LazyFuture, RepeatableFuture};
pub(crate) use inline::{InlineLoop, end_inline_runtime};
pub(crate) use place::{Aloops, not_started};
pub(crate) use runtime::Loop;
