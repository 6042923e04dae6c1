//! The thread pool: the place where functions run.
//!
//! | file | content |
//! |---|---|
//! | `injector` | launches that need no lock of the pool |
//! | `place` | what a supervisor requests: the implementation of `Place` |
//! | `pool` | how threads are spawned, woken, blocked and resized |
//! | `state` | the state under the lock, and the rules for it |
//! | `parker` | how an idle thread sleeps and is woken |
//! | `run` | the main loop of a thread, and the run of one job |
//!
//! # Waking threads
//!
//! One lock guards the state of the pool: the backlog, the list of idle threads, and the counts. An
//! operation that changes the state under the lock (a launch, a wait that releases its slot, new
//! limits) *wakes* a thread if a job may start and no thread is waking already. The woken thread
//! takes a job and wakes the next one. Waking one thread per job instead cost a wake-up per task:
//! 0.34 instead of 0.92 million empty tasks per second on two distant CPUs.
//!
//! Whenever the lock is free, the following invariant holds:
//!
//! > A thread is waking, or no job waits that could have a slot. If a job has a slot and no thread, a
//! > thread is waking, or the system can't create one and the timer will try again.
//!
//! While a thread is waking, launches only push their jobs into the injector: the thread gives slots
//! to them when it comes. Otherwise each launch during these microseconds would take the lock, to
//! find that there is nothing to do. With this the rate of empty tasks was 15 % higher.
//!
//! A launch that finds all slots of its priority taken pushes its job into the injector, without
//! this lock. The invariant includes these jobs: a thread that releases a slot checks the injector
//! as well.
//!
//! # States of a thread
//!
//! | state | meaning | until |
//! |---|---|---|
//! | waking | unparked or spawned, and not yet at the backlog | it takes the lock |
//! | busy | holds a slot and runs a task | the end of the run |
//! | blocked | in a wait that has released its slot | the wait ends, with or without a free slot |
//! | idle | in the list of idle threads | it is unparked, or its idle timeout ends |
//!
//! At most one idle thread spins, and it is the first one to be woken. All others are parked. On a
//! single CPU no thread spins: a thread yields once before it parks, as `sync::spin` explains.
//! Waking a parked thread costs 3 to 40 µs, many times the run time of a short task.
//!
//! # Admission
//!
//! A job that has a slot but no thread yet is *admitted*. `stop` treats its task as one that runs,
//! so that `let t = f(); t.stop();` lets `f` handle the request whether or not a thread has picked
//! it up. `cancel` and `kill` treat it as one that has not begun, and cancel it.
//!
//! A thread takes one job at a time. Taking several would save lock operations, but a later task
//! could then begin before an earlier one.

mod injector;
#[cfg(all(test, atasker_loom))]
mod loom_tests;
mod parker;
mod place;
mod pool;
mod run;
mod state;

pub(crate) use pool::ThreadPool;
