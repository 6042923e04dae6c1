//! Loops that run futures on one dedicated thread, with the interface of pools: the closure runs
//! inside a future.

use atasker::{Aloop, Supervisor, Task};

use super::threads::Pool;

/// An aloop, by tasks.
pub struct Ours {
    supervisor: Supervisor,
}

impl Ours {
    pub fn new() -> Self {
        Ours { supervisor: Supervisor::builder().id("bench").build() }
    }

    /// The loop itself.
    pub fn aloop(&self) -> Aloop {
        self.supervisor.create_aloop("default")
    }
}

impl Pool for Ours {
    type Handle<R: Send + 'static> = Task<R>;
    fn spawn<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Task<R> {
        self.supervisor.spawn_async(async move { f() })
    }
    fn join<R: Send + 'static>(&self, handle: Task<R>) -> R {
        handle.join().unwrap()
    }
}
