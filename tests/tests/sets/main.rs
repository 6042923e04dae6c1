//! Tests of chained tasks, sets, streams, and of launches that wait as futures.

mod bounded_by;
mod cancel_on_drop;
mod chain_end;
mod chain_result;
mod chain_stop;
mod chain_verbs;
mod launch_room;
mod launch_room_mp;
mod message_stream;
mod set_async;
mod set_drop;
mod set_join;
mod task_stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atasker::{Supervisor, Task, TaskBuilder, TaskContext, background_task};
use atasker_tests::{FAR, Gate};

/// A task that has begun, and returns 7 once its gate is open.
fn gated(sup: &Supervisor) -> (Task<u32>, Gate) {
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let task = sup.spawn(move || {
        begins.open();
        waits.wait();
        7
    });
    begun.wait();
    (task, gate)
}

/// A task that has begun, and returns whether a stop was requested.
fn until_stopped(sup: &Supervisor) -> Task<bool> {
    let begun = Gate::new();
    let begins = begun.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begins.open();
        ctx.wait_stop(FAR)
    });
    let task = task.supervisor(sup).start();
    begun.wait();
    task
}

/// Counts the values that were dropped.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

impl Drops {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn guard(&self) -> DropGuard {
        DropGuard(self.clone())
    }
}

struct DropGuard(Drops);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[background_task(tt = "mp")]
fn doubles(n: u32) -> u32 {
    2 * n
}

#[background_task(tt = "mp")]
fn crashes() -> u32 {
    std::process::exit(3)
}

/// Sends that it has begun, then runs until it is stopped.
#[background_task(tt = "mp")]
fn sends_pid(ctx: &TaskContext<(), u32>) -> u32 {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
    1
}
