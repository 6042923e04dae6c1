//! The thread pool: a place for functions.
//!
//! One lock guards the pool's state: the backlog, the idle threads, the counts. Whoever changes
//! something under it — a launch, the end of a run, a wait that gives its slot up, new limits —
//! calls [`PoolState::dispatch`](pool) before letting go, which takes out of the backlog whatever
//! may start. So between two holders of the lock no task that may start is waiting, unless the
//! system gives no more threads.
//!
//! | a thread is | and leaves this state by |
//! |---|---|
//! | busy: it holds a slot and runs a task | the end of the run |
//! | blocked: in a wait, its slot given up | waking up, with or without a free slot |
//! | idle: it stands in the list of idle threads | an order handed to it, or its time is over |
//!
//! An order is handed to one thread, outside the lock; only a thread that sleeps is woken.

mod idle;
#[cfg(all(test, atasker_loom))]
mod loom_tests;
#[cfg(not(atasker_loom))]
mod pool;
#[cfg(not(atasker_loom))]
mod run;

#[cfg(not(atasker_loom))]
pub(crate) use pool::ThreadPool;
