//! Pools that run closures on threads and return a handle of each.

use atasker::{PoolConfig, Priority, Supervisor, Task, TaskBuilder};

/// A pool with two threads.
pub trait Pool: Send + Sync + 'static {
    /// The handle of a result.
    type Handle<R: Send + 'static>: Send;

    /// Runs a closure on the pool.
    fn spawn<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Self::Handle<R>;

    /// Waits for a result.
    fn join<R: Send + 'static>(&self, handle: Self::Handle<R>) -> R;

    /// Waits for all of them, in order.
    fn join_all<R: Send + 'static>(
        &self,
        handles: Vec<Self::Handle<R>>,
        mut each: impl FnMut(R) + Send,
    ) {
        for handle in handles {
            each(self.join(handle));
        }
    }
}

/// The number of threads of a pool.
pub const THREADS: usize = 2;

/// This project, without the attribute.
#[derive(Clone)]
pub struct Ours(pub Supervisor);

impl Ours {
    /// With two slots and no reserves.
    pub fn new() -> Self {
        Self::with(PoolConfig::new(THREADS))
    }

    /// With other slots.
    pub fn with(config: PoolConfig) -> Self {
        Ours(Supervisor::builder().id("bench").thread_pool(config).build())
    }
}

impl Pool for Ours {
    type Handle<R: Send + 'static> = Task<R>;
    fn spawn<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Task<R> {
        self.0.spawn(f)
    }
    fn join<R: Send + 'static>(&self, handle: Task<R>) -> R {
        handle.join().unwrap()
    }
}

/// The same with a priority.
pub struct Urgent(pub Ours, pub Priority);

impl Pool for Urgent {
    type Handle<R: Send + 'static> = Task<R>;
    fn spawn<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Task<R> {
        TaskBuilder::new(f).priority(self.1).supervisor(&self.0.0).start()
    }
    fn join<R: Send + 'static>(&self, handle: Task<R>) -> R {
        handle.join().unwrap()
    }
}
