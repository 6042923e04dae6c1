//! The thread pool: a place for functions.
//!
//! | what | file |
//! |---|---|
//! | launches that need no lock | `inbox` |
//! | the state, the rules, the place's interface | `pool` |
//! | how an idle thread sleeps and is called | `idle` |
//! | the life of a thread, and the run of one job | `run` |
//!
//! One lock guards the pool's state: the backlog, the idle threads, the counts. Whoever changes
//! something under it — a launch, a wait that gives its slot up, new limits — *calls* a thread when
//! something may start and none is coming. The one that comes takes a job and calls the next, so
//! that between two holders of the lock this holds:
//!
//! > No job waits that may have a slot; and if a job has a slot and no thread, a thread is coming
//! > for it, or the system gives none and the timer will try again.
//!
//! A launch that finds all slots held which it might take leaves its job in the inbox, without the
//! lock. "No job waits" includes those: whoever gives a slot up looks there, too.
//!
//! | a thread is | and leaves this state by |
//! |---|---|
//! | coming: called, and not yet at the backlog | taking the lock |
//! | busy: it holds a slot and runs a task | the end of the run |
//! | blocked: in a wait, its slot given up | waking up, with or without a free slot |
//! | idle: it stands in the list of idle threads | being called, or its time is over |
//!
//! One idle thread at most spins for a moment, in front of the others; the rest sleep, and only one
//! that sleeps is woken.

mod idle;
mod inbox;
#[cfg(all(test, atasker_loom))]
mod loom_tests;
mod pool;
mod run;

pub(crate) use pool::ThreadPool;
