//! The fallback: worker processes that share no memory with their parent.
//!
//! For systems that have no memfd, or no futexes in shared memory, or deny them by a seccomp filter
//! or a limit of file sizes. Everything is then sent over the two sockets. Each side has a private
//! page, and frames on the data socket keep the two pages in step:
//!
//! ```text
//!   parent's page                               worker's page
//!   Sent(n)      --- Call(n), arguments --->    Sent(n), Begun(n)
//!   Begun(n)     <--------- Begun(n) -------
//!                <------- Progress(n) ------
//!                <-------- Items(n) --------                           (a chunk of a map)
//!   Done(n)      <--- Ended(n), Reply(n) ---    Done(n)
//! ```
//!
//! The worker reports that a call begins before its function runs, and what it has written stays in
//! the socket after its death. Blame is therefore as exact as with a shared page, because the
//! reader thread first reads everything that is left.
//!
//! There are three differences. A worker has one call at a time, and gets the next one after the
//! reply has arrived. No thread spins before sleeping, so a short call takes several times as long.
//! And a call can only be revoked until it is in transit, which it is as soon as the worker is
//! ready; from then on it counts as begun for `cancel`, `kill` and the end of the supervisor. A
//! worker that is stopped and has not begun its call after a second or two is killed, because only
//! then can another worker get the call.
//!
//! `ATASKER_WORKERS=sockets` in the program's environment requests this mode.

use std::sync::OnceLock;

use crate::process::config::MpPoolConfig;
use crate::process::transport::entry::{ArgsLocation, CallHeader, CallState, Next, ReplyLocation};
use crate::process::transport::page::Page;
use crate::sys::advice::is_resource_shortage;
use crate::sys::mapping::{self, Mapping};
use crate::unwind::log;
use crate::wire::frame::{CallMessage, ToWorker};

/// Whether a new worker process must not share memory with this one.
pub(crate) fn is_wanted(config: &MpPoolConfig) -> bool {
    static REQUESTED: OnceLock<bool> = OnceLock::new();
    let requested = || std::env::var_os("ATASKER_WORKERS").is_some_and(|mode| mode == "sockets");
    config.over_sockets
        || !mapping::CAN_SHARE
        || *REQUESTED.get_or_init(requested)
        || !mapping::is_file_allowed(Mapping::<Page>::LENGTH as u64)
        || is_required()
}

/// Whether this system lacks memory that two processes can share, or futexes in it. Tried once,
/// before the first worker process is started.
fn is_required() -> bool {
    static REQUIRED: OnceLock<bool> = OnceLock::new();
    if let Some(required) = REQUIRED.get() {
        return *required;
    }
    match mapping::probe_sharing() {
        Ok(()) => *REQUIRED.get_or_init(|| false),
        // A shortage says nothing about the system, and the start that follows may fail for the
        // same reason.
        Err(error) if is_resource_shortage(&error) => false,
        Err(error) => {
            // Logged outside of the cell's initialization, because a subscriber may launch a task
            // and recurse.
            if REQUIRED.set(true).is_ok() {
                log!(
                    warn, %error,
                    "memory can't be shared with worker processes: calls go over sockets, which is slower"
                );
            }
            true
        }
    }
}

/// The frame in front of the name and the arguments of a call.
pub(crate) fn call_message(call: u64, header: &CallHeader) -> ToWorker<'static> {
    ToWorker::Call(CallMessage {
        call,
        function: header.function,
        id: header.id,
        attempt: header.attempt,
        priority: header.priority,
        channels: header.channels,
        name_len: header.name_len as u64,
        args_len: header.args_len as u64,
    })
}

/// In the worker: records that the call has arrived and begun. Returns `None` if a length is
/// invalid here.
pub(crate) fn begin(page: &Page, message: &CallMessage, now: impl Fn() -> u64) -> Option<()> {
    let header = CallHeader {
        function: message.function,
        id: message.id,
        attempt: message.attempt,
        priority: message.priority,
        channels: message.channels,
        name_len: usize::try_from(message.name_len).ok()?,
        args_len: usize::try_from(message.args_len).ok()?,
        at: ArgsLocation::Socket,
    };
    page.send(message.call, &header, &[]);
    (page.try_begin(message.call, now) == Some(Next::Run)).then_some(())
}

/// In the parent: applies what a worker reports about its call to the private page. The methods
/// return `false` for a report that is out of order.
#[derive(Debug, Default)]
pub(crate) struct PageMirror {
    /// A call that has ended, and when; its reply comes next.
    ended: Option<(u64, u64)>,
}

impl PageMirror {
    #[must_use]
    pub(crate) fn begun(&self, page: &Page, call: u64, at: u64) -> bool {
        page.state(call) == Some(CallState::Sent) && page.try_begin(call, || at) == Some(Next::Run)
    }

    #[must_use]
    pub(crate) fn progressed(&self, page: &Page, call: u64, done: u64, total: u64) -> bool {
        let runs = self.ended.is_none() && page.state(call) == Some(CallState::Begun);
        if runs {
            page.write_progress(call, done, total);
        }
        runs
    }

    #[must_use]
    pub(crate) fn ended(&mut self, page: &Page, call: u64, at: u64) -> bool {
        let runs = self.ended.is_none() && page.state(call) == Some(CallState::Begun);
        if runs {
            self.ended = Some((call, at));
        }
        runs
    }

    /// Whether the next reply belongs to this call.
    pub(crate) fn is_awaiting(&self, call: u64) -> bool {
        self.ended.is_some_and(|(of, _)| of == call)
    }

    /// The reply is complete.
    #[must_use]
    pub(crate) fn replied(&mut self, page: &Page, call: u64) -> bool {
        match self.ended.take_if(|(of, _)| *of == call) {
            Some((_, at)) => {
                page.finish_at(call, ReplyLocation::Socket, &[], 0, || at);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::wire::frame::ChannelSetup;

    fn sent(call: u64) -> Mapping<Page> {
        let page = Mapping::<Page>::private().unwrap();
        send(&page, call);
        page
    }

    fn send(page: &Page, call: u64) {
        let header = CallHeader {
            function: 1,
            id: (2, 3),
            attempt: 1,
            priority: 1,
            channels: ChannelSetup::None,
            name_len: 0,
            args_len: 9,
            at: ArgsLocation::Socket,
        };
        page.send(call, &header, &[]);
    }

    #[test]
    fn states_advance_in_order() {
        let (page, mut mirror) = (sent(7), PageMirror::default());
        assert!(mirror.begun(&page, 7, 100));
        assert_eq!((page.state(7), page.begun(7)), (Some(CallState::Begun), 100));
        assert!(mirror.progressed(&page, 7, 1, 2));
        assert_eq!(page.progress(7), Some((1, 2)));
        assert!(!mirror.is_awaiting(7));
        assert!(mirror.ended(&page, 7, 300));
        assert!(mirror.is_awaiting(7) && !mirror.is_awaiting(8));
        assert!(mirror.replied(&page, 7));
        assert_eq!((page.state(7), page.times(7).ended), (Some(CallState::Done), 300));
        assert!(!mirror.is_awaiting(7));
        // The next call in this entry does not have the progress of this one.
        send(&page, 7 + 256);
        assert!(mirror.begun(&page, 7 + 256, 400));
        assert_eq!(page.progress(7 + 256), None);
    }

    #[test]
    fn repeated_or_early_states_are_rejected() {
        let (page, mut mirror) = (sent(7), PageMirror::default());
        assert!(!mirror.begun(&page, 8, 1) && !mirror.begun(&page, 7 + 256, 1));
        assert!(!mirror.progressed(&page, 7, 1, 1), "it has not begun");
        assert!(!mirror.ended(&page, 7, 1) && !mirror.replied(&page, 7));
        assert!(mirror.begun(&page, 7, 1));
        assert!(!mirror.begun(&page, 7, 2), "once more");
        assert!(!mirror.progressed(&page, 8, 1, 1));
        assert!(!mirror.replied(&page, 7), "it has not ended");
        assert!(
            !mirror.ended(&page, 8, 2) && mirror.ended(&page, 7, 2) && !mirror.ended(&page, 7, 3)
        );
        assert!(!mirror.progressed(&page, 7, 1, 1), "it has ended");
        assert!(!mirror.replied(&page, 8) && mirror.replied(&page, 7) && !mirror.replied(&page, 7));
        assert!(!mirror.begun(&page, 7, 1) && !mirror.ended(&page, 7, 2));
    }

    #[test]
    fn withdrawn_call_does_not_begin() {
        let (page, mirror) = (sent(7), PageMirror::default());
        assert!(page.withdraw(7));
        assert!(!mirror.begun(&page, 7, 1));
    }

    #[test]
    fn call_header_round_trips() {
        let page = sent(7);
        let ToWorker::Call(message) = call_message(7, &page.call_header(7)) else { panic!() };
        let theirs = Mapping::<Page>::private().unwrap();
        assert!(begin(&theirs, &message, || 5).is_some());
        assert_eq!(format!("{:?}", theirs.call_header(7)), format!("{:?}", page.call_header(7)));
        assert_eq!((theirs.state(7), theirs.begun(7)), (Some(CallState::Begun), 5));
    }

    #[cfg(sys_linux)]
    #[test]
    fn memory_can_be_shared_on_this_system() {
        mapping::probe_sharing().unwrap();
    }
}
