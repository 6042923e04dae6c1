//! Worker processes: copies of the program that run one task at a time.
//!
//! | concern | room or file |
//! |---|---|
//! | configuration | `config`, `data` |
//! | which worker process runs which call | `pool` |
//! | how both sides keep the state of a call in step | `transport` |
//! | the parent's side of one worker process | `parent` |
//! | the worker process itself | `worker` |
//! | what both sides share: errors, spans and events, output line by line | `errors`, `tracing`, `stdio` |
//!
//! `transport` imports none of the other rooms. `pool` and `parent` import each other: the pool
//! keeps the handles of its worker processes, and their reader threads report to the pool.
//!
//! A *lane* is an entry for one worker process in the pool's table:
//!
//! ```text
//!            start               spawned             end of the process
//!   Empty ----------> Starting ----------> Live -----------------------> Empty
//!              ^          | failed          | closing: no more calls
//!              |__________|                 |   (idle too long, enough tasks, shutdown, killed)
//!               back-off
//! ```
//!
//! **Ownership.** The pool's lock guards the backlog, the lanes and the parent's half of every
//! page: only its holder sends a call, revokes one, or takes out completed ones. The reader thread
//! of a worker process is the only thread that reads from its sockets, completes its tasks, and
//! reaps it, with one exception. A thread that is about to sleep until a call is done first spins
//! on the page for some microseconds. If the call is then done, is the first of its lane, and has
//! its whole reply in shared memory, this thread takes the call out and completes it. No other
//! thread has to be woken for it, because the worker notifies the reader thread only of calls that
//! are not taken out within a moment, or when another call follows. Such a thread completes only
//! its own call. Other replies are left to the reader thread, because decoding a reply may run user
//! code.
//!
//! **The spawner thread** starts all processes and never ends, because the kernel takes the end of
//! the thread that started a worker for the end of its parent. Code of the user, such as a tracing
//! subscriber, is therefore never called unguarded on this thread, nor on the timer or the reader
//! threads.
//!
//! **A launch that would only wait** does not take the pool's lock. It pushes its job to the
//! injector, a queue behind the backlog. A thread that must find or count waiting jobs drains the
//! injector first; a thread that dispatches jobs drains some when the backlog is empty.
//!
//! **Payloads** of more than 256 bytes are in two memory regions behind the page, which are mapped
//! as far as needed. A payload that does not fit there goes over the data socket: see
//! `transport::region`.
//!
//! **Without shared memory**, or if `ATASKER_WORKERS=sockets` or the configuration of a pool
//! requests it, each side has a private page, and frames keep the two in step: see
//! `transport::sockets`.
//!
//! **A call** is *queued* (in the backlog), *sent* (in the page of a lane, where it can still be
//! revoked), *begun* (the worker has changed its state), then *done*. Only a begun call is blamed
//! for the death of its worker: calls that were only sent go back to the front of the backlog.
//!
//! **A reply in transit is part of the call.** A worker marks a call *done* before it writes a
//! reply that does not fit into shared memory, so that a death in between is noticed. Until the
//! last byte has arrived, `kill`, the time limit and the end of the supervisor still reach the
//! worker: the lane keeps the number of that call. Before a worker is killed for one call, all
//! calls that it has not begun are revoked. If it has proceeded to a later call by then, it is not
//! killed, because the reply to the earlier call has arrived.
//!
//! **What is in transit is bounded.** A worker is sent one call of any size, and small calls behind
//! it. A call that is revoked before its arguments were written takes them along, so a worker that
//! reads nothing for a while accumulates nothing.
//!
//! **A stopped worker is bypassed.** If a worker has not begun a call after a second or two,
//! although it has nothing else to do, and `/proc` reports that the process is stopped (by SIGSTOP
//! or a debugger), its calls go to other workers. On a machine that is merely busy, nothing is
//! revoked. The stopped worker gets no more calls until it has skipped those that were revoked, and
//! ends like an idle one. The pool checks once a second, and only while calls have not begun. A
//! call that a stopped worker had begun waits for the worker, for the time limit or for a kill.
//!
//! **A worker process that does not become ready** is started again after 20 ms, 40 ms, and so on.
//! After 5 failures in a row with no worker left, the waiting tasks fail with the reason. A SIGKILL
//! from outside during the start says nothing about the next start, so kills alone count only after
//! 12 in a row. A worker that became ready, but died before it had run anything, is also replaced
//! only after a delay, if it was started eagerly (`min_size`).

mod config;
mod data;
mod errors;
mod parent;
mod pool;
mod stdio;
#[cfg(all(test, feature = "pre-main"))]
mod tests;
pub(crate) mod tracing;
mod transport;
mod worker;

/// Entry points for `crate::fuzzed`.
#[cfg(fuzzing)]
pub(crate) mod fuzzed {
    pub(crate) use super::errors::properties::error;
    pub(crate) use super::stdio::properties::any_bytes as worker_output;
    pub(crate) use super::tracing::fuzzed::values;
}

pub use config::{MpPoolConfig, WorkerStdio};
pub use data::worker_data;

pub(crate) use errors::{decode as decode_error, encode as encode_error};
#[cfg(feature = "remote")]
pub(crate) use parent::spawn::unavailable_reason;
pub(crate) use pool::ProcessPool;
pub(crate) use transport::journal::MAX_ITEMS;
pub(crate) use worker::{JournalWriter, Recorded, begin_journal, in_worker};

use crate::sys::{self, entry};

/// Serves as a worker process and never returns, if this process was started as one. Otherwise does
/// nothing.
///
/// With the feature `pre-main`, which is enabled by default, this call is not needed. Without the
/// feature, call it in the first line of `main`, or put `#[atasker::main]` on `main`, because
/// everything before it also runs in every worker process.
///
/// A process is a worker process if its parent has announced that through the socket at its
/// standard input, and the kernel reports that the socket was created by a process of the same user
/// and group, or of root. A program whose privileges the kernel has raised (setuid, setgid, file
/// capabilities) is never a worker process.
///
/// ```
/// # use atasker_runtime as atasker;
/// // In the first line of `main`:
/// atasker::init();
/// ```
#[cfg(feature = "mp")]
pub fn init() {
    enter();
}

/// The entry point for `init` and for `#[atasker::main]`.
pub(crate) fn enter() {
    entry::mark_prepared();
    if let Some(parent) = sys::worker::recognize() {
        serve(parent);
    }
}

/// The entry point for a process that was recognized as a worker process.
pub(crate) fn serve(parent: u32) -> ! {
    worker::serve_parent(parent)
}
