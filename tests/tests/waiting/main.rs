//! Tests of waits for tasks.
//!
//! They are also built on platforms without worker processes, without the tests' library.

mod wait_any;
mod wait_as_completed;
mod wait_bounded;
mod wait_completed;
mod wait_in_task;
mod wait_on_aloop;
mod wait_settled;
mod wait_timeout;
mod wakers;

use std::sync::mpsc;

use atasker::{PoolConfig, Supervisor, Task};

/// A supervisor whose thread pool has no limit.
fn unlimited() -> Supervisor {
    Supervisor::builder().thread_pool(PoolConfig::unlimited()).build()
}

/// A supervisor whose thread pool has one slot.
fn one_slot() -> Supervisor {
    Supervisor::builder().thread_pool(PoolConfig::new(1)).build()
}

/// A task that ends when its gate opens.
fn gated<R: Send + 'static>(sup: &Supervisor, result: R) -> (mpsc::Sender<()>, Task<R>) {
    let (open, gate) = mpsc::channel();
    let task = sup.spawn(move || {
        gate.recv().unwrap();
        result
    });
    (open, task)
}
