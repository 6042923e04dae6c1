//! Tests of progress bars: what they show, when they are drawn, and what remains of them.

mod iterators;
mod rate;
mod target;
mod tasks;
mod user_code;
mod waits;

use std::time::Duration;

use atasker::{PoolConfig, Supervisor, Task, TaskBuilder};
use atasker_tests::{Gate, processes};

/// A time limit that is too short for tasks that wait for a gate.
const SHORT: Duration = Duration::from_millis(300);

/// The thread that draws.
const DRAWING: &str = "atasker bars";

fn unlimited() -> Supervisor {
    Supervisor::builder().thread_pool(PoolConfig::unlimited()).build()
}

/// A task that returns `value` once its gate is open.
fn gated<R: Send + 'static>(sup: &Supervisor, value: R) -> (Gate, Task<R>) {
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || {
        waits.wait();
        value
    });
    (gate, task.supervisor(sup).start())
}

fn draws() -> bool {
    processes::thread_names().iter().any(|name| name == DRAWING)
}
