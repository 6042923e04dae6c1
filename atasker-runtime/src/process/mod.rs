//! Worker processes: copies of the program that run one task at a time.
//!
//! | part | file |
//! |---|---|
//! | what the user says | `config`, `data` |
//! | the pool's life, and what the supervisor asks of it | `pool` |
//! | who gets which call | `deal`; of one worker process: `lane` |
//! | launches that would only have to wait | `inbox` |
//! | what a worker process has done, or how it ended | `news` |
//! | making a worker process | `spawn` |
//! | the parent's thread for one worker process | `link` |
//! | the worker's side | `child` |
//! | the page both share: who has a call | `page` |
//! | what is too large for the page | `carry`, `ring` |
//! | without a shared page, where the system has none | `over_sockets` |
//! | how long either side looks there before it sleeps | `look` |
//! | what crosses: frames (in `wire`), errors, tracing events | `errors`, `events` |
//! | what workers print, line by line | `logs` |
//!
//! A *lane* is a place for one worker process in the pool's table. It is
//!
//! ```text
//!            start               spawned             end of the process
//!   Empty ----------> Starting ----------> Live -----------------------> Empty
//!              ^          | failed          | closing: no more calls
//!              |__________|                 |   (idle too long, enough tasks, shutdown, doomed)
//!               back-off
//! ```
//!
//! **Who owns what.** The pool's lock guards the backlog, the lanes and the parent's half of every
//! page: only its holder sends a call, takes one back, or takes out what is done. The link thread of a
//! worker process is the only one that reads from its sockets, settles its tasks, and buries it, but
//! for one thing: a thread that is about to sleep until a call is done looks at the page for some
//! microseconds, and if the call is done, was the first of its lane, and has its whole reply in the
//! page, that thread takes it out and settles it itself. Nobody else has to be woken for it then: the
//! worker tells the link only of what nobody has taken out for a moment, or when it goes on. The
//! spawner thread starts processes and never ends: the kernel ends a worker when the thread that
//! started it ends.
//!
//! **A launch that would only wait** does not take the pool's lock: it leaves its job in the inbox,
//! which stands behind the backlog. Whoever looks for a job there or counts them takes all of it in
//! first; whoever sends jobs takes some in when the backlog is empty.
//!
//! **Payloads** of more than 256 bytes stand in two areas of memory behind the page, which are mapped
//! where they are needed; what has no place there goes over the data socket: see `carry`.
//!
//! **Where no memory can be shared**, or where `ATASKER_WORKERS=sockets` or a pool's configuration says
//! so, both sides have a page of their own and frames keep these in step: see `over_sockets`.
//!
//! **A call** is *queued* (in the backlog), *sent* (in a lane's page, and it can still be taken
//! back), *begun* (the worker has turned its state), *done*. Only a begun call holds its worker to
//! blame: when a worker dies, calls that were sent go back to the front of the backlog.

mod carry;
mod child;
mod config;
mod data;
mod deal;
mod errors;
mod events;
mod inbox;
mod lane;
mod link;
mod logs;
mod look;
mod news;
mod over_sockets;
mod page;
mod pool;
mod ring;
mod spawn;
#[cfg(all(test, feature = "pre-main"))]
mod tests;

/// See `crate::fuzzed`.
#[cfg(fuzzing)]
pub(crate) mod fuzzed {
    pub(crate) use super::errors::fuzzed::error;
    pub(crate) use super::logs::promises::prints;
}

pub use config::{MpPoolConfig, WorkerStdio};
pub use data::worker_data;

pub(crate) use child::in_worker;
pub(crate) use pool::ProcessPool;

/// Serves as a worker process, and does not return, if this process was started as one.
///
/// With the feature `pre-main`, which is on by default, this is not needed. Without it, put it at
/// the first line of `main`, or put `#[atasker::main]` on `main`: everything before it runs in every
/// worker process, too.
pub fn init() {
    enter();
}

/// The way in before `main`, from `init` and from `#[atasker::main]`.
#[doc(hidden)]
pub fn enter() {
    crate::sys::entry::prepared();
    child::take_over();
}
