//! Tests of launches that wait for room as futures.

mod launch_room;
mod launch_room_mp;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atasker::background_task;

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
