//! The fall-back: worker processes that share no memory with their parent.
//!
//! For systems that have no memfd or no futex in shared memory, or deny them (a filter of system calls
//! may, or a limit of file sizes). What crosses then crosses by the two sockets. Each side has a page
//! of its own, in its own memory, which frames on the data socket keep in step:
//!
//! ```text
//!   parent's page                               worker's page
//!   Sent(n)      --- Call(n), arguments --->    Sent(n), Begun(n)
//!   Begun(n)     <--------- Begun(n) -------
//!                <------- Progress(n) ------
//!   Done(n)      <--- Ended(n), Reply(n) ---    Done(n)
//! ```
//!
//! The worker says that a call begins before its function runs, and what it has said stays in the
//! socket after its death. So it is as exact as with a shared page which call is to blame: the link
//! reads all that is left there first.
//!
//! What differs: a worker has one call at a time, and the next one once the reply is there; nobody
//! looks before sleeping; and a call can be taken back only until it sets out, which it does when the
//! worker is ready. From then on it counts as begun for `cancel`, `kill` and the end of the
//! supervisor. A worker that is stopped, and has not begun its call after a second or two, is killed,
//! for only then can another have the call.
//!
//! `ATASKER_WORKERS=sockets` in the program's environment asks for this mode.

use std::sync::OnceLock;

use crate::process::config::MpPoolConfig;
use crate::process::page::{ArgsAt, Order, Page, ReplyAt, Step, Turn};
use crate::sys::mapping::{self, Mapping};
use crate::wire::frame::{Head, ToWorker};

/// Whether a new worker process shall share no memory with this one.
pub(super) fn is_wanted(config: &MpPoolConfig) -> bool {
    static ASKED_FOR: OnceLock<bool> = OnceLock::new();
    let asked_for = || std::env::var_os("ATASKER_WORKERS").is_some_and(|mode| mode == "sockets");
    config.over_sockets
        || *ASKED_FOR.get_or_init(asked_for)
        || !mapping::is_allowed(Mapping::<Page>::LENGTH as u64)
        || is_needed()
}

/// Whether this system has no memory that two processes share, or doesn't let them sleep on it. Tried
/// once, before the first worker process is started.
fn is_needed() -> bool {
    static NEEDED: OnceLock<bool> = OnceLock::new();
    if let Some(needed) = NEEDED.get() {
        return *needed;
    }
    match mapping::try_sharing() {
        Ok(()) => *NEEDED.get_or_init(|| false),
        // This says nothing about the system; the start that follows may fail for the same reason.
        Err(error) if mapping::is_shortage(&error) => false,
        Err(error) => *NEEDED.get_or_init(|| {
            tracing::warn!(
                target: "atasker", %error,
                "worker processes can't share memory here: calls go over sockets, which is slower"
            );
            true
        }),
    }
}

/// The frame in front of a call's name and arguments.
pub(super) fn frame_of(call: u64, order: &Order) -> ToWorker<'static> {
    ToWorker::Call(Head {
        call,
        function: order.function,
        id: order.id,
        attempt: order.attempt,
        priority: order.priority,
        linked: order.linked,
        name_len: order.name_len as u64,
        args_len: order.args_len as u64,
    })
}

/// In the worker: the call is there, and has begun. `None` if a length makes no sense here.
pub(super) fn begin(page: &Page, head: &Head, now: impl Fn() -> u64) -> Option<()> {
    let order = Order {
        function: head.function,
        id: head.id,
        attempt: head.attempt,
        priority: head.priority,
        linked: head.linked,
        name_len: usize::try_from(head.name_len).ok()?,
        args_len: usize::try_from(head.args_len).ok()?,
        at: ArgsAt::Socket,
    };
    page.send(head.call, &order, &[]);
    (page.take(head.call, now) == Some(Turn::Run)).then_some(())
}

/// In the parent: does in its page what a worker says of its call. False: it makes no sense.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// A call that has ended, when, and whose reply comes next.
    ended: Option<(u64, u64)>,
}

impl Steps {
    #[must_use]
    pub(super) fn begun(&self, page: &Page, call: u64, at: u64) -> bool {
        page.step(call) == Some(Step::Sent) && page.take(call, || at) == Some(Turn::Run)
    }

    #[must_use]
    pub(super) fn progressed(&self, page: &Page, call: u64, done: u64, total: u64) -> bool {
        let runs = self.ended.is_none() && page.step(call) == Some(Step::Begun);
        if runs {
            page.tell_progress(call, done, total);
        }
        runs
    }

    #[must_use]
    pub(super) fn ended(&mut self, page: &Page, call: u64, at: u64) -> bool {
        let runs = self.ended.is_none() && page.step(call) == Some(Step::Begun);
        if runs {
            self.ended = Some((call, at));
        }
        runs
    }

    /// Whether the next reply is this call's.
    pub(super) fn awaits(&self, call: u64) -> bool {
        self.ended.is_some_and(|(of, _)| of == call)
    }

    /// All of the reply is there.
    #[must_use]
    pub(super) fn replied(&mut self, page: &Page, call: u64) -> bool {
        match self.ended.take_if(|(of, _)| *of == call) {
            Some((_, at)) => {
                page.finish_at(call, ReplyAt::Socket, &[], 0, || at);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn sent(call: u64) -> Mapping<Page> {
        let page = Mapping::<Page>::own().unwrap();
        send(&page, call);
        page
    }

    fn send(page: &Page, call: u64) {
        let order = Order {
            function: 1,
            id: (2, 3),
            attempt: 1,
            priority: 1,
            linked: false,
            name_len: 0,
            args_len: 9,
            at: ArgsAt::Socket,
        };
        page.send(call, &order, &[]);
    }

    #[test]
    fn a_call_goes_step_by_step() {
        let (page, mut steps) = (sent(7), Steps::default());
        assert!(steps.begun(&page, 7, 100));
        assert_eq!((page.step(7), page.begun(7)), (Some(Step::Begun), 100));
        assert!(steps.progressed(&page, 7, 1, 2));
        assert_eq!(page.progress(7), Some((1, 2)));
        assert!(!steps.awaits(7));
        assert!(steps.ended(&page, 7, 300));
        assert!(steps.awaits(7) && !steps.awaits(8));
        assert!(steps.replied(&page, 7));
        assert_eq!((page.step(7), page.times(7).ended), (Some(Step::Done), 300));
        assert!(!steps.awaits(7));
        // The next one knows nothing of its progress.
        send(&page, 7 + 256);
        assert!(steps.begun(&page, 7 + 256, 400));
        assert_eq!(page.progress(7 + 256), None);
    }

    #[test]
    fn no_step_is_taken_twice_or_out_of_turn() {
        let (page, mut steps) = (sent(7), Steps::default());
        assert!(!steps.begun(&page, 8, 1) && !steps.begun(&page, 7 + 256, 1));
        assert!(!steps.progressed(&page, 7, 1, 1), "it has not begun");
        assert!(!steps.ended(&page, 7, 1) && !steps.replied(&page, 7));
        assert!(steps.begun(&page, 7, 1));
        assert!(!steps.begun(&page, 7, 2), "once more");
        assert!(!steps.progressed(&page, 8, 1, 1));
        assert!(!steps.replied(&page, 7), "it has not ended");
        assert!(!steps.ended(&page, 8, 2) && steps.ended(&page, 7, 2) && !steps.ended(&page, 7, 3));
        assert!(!steps.progressed(&page, 7, 1, 1), "it has ended");
        assert!(!steps.replied(&page, 8) && steps.replied(&page, 7) && !steps.replied(&page, 7));
        assert!(!steps.begun(&page, 7, 1) && !steps.ended(&page, 7, 2));
    }

    #[test]
    fn what_was_taken_back_does_not_begin() {
        let (page, steps) = (sent(7), Steps::default());
        assert!(page.withdraw(7));
        assert!(!steps.begun(&page, 7, 1));
    }

    #[test]
    fn a_call_travels() {
        let page = sent(7);
        let ToWorker::Call(head) = frame_of(7, &page.order(7)) else { panic!() };
        let theirs = Mapping::<Page>::own().unwrap();
        assert!(begin(&theirs, &head, || 5).is_some());
        assert_eq!(format!("{:?}", theirs.order(7)), format!("{:?}", page.order(7)));
        assert_eq!((theirs.step(7), theirs.begun(7)), (Some(Step::Begun), 5));
    }

    #[test]
    fn memory_can_be_shared_here() {
        mapping::try_sharing().unwrap();
    }
}
