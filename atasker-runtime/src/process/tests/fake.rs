//! A transport without a worker process: a table of calls that a test changes in its place.

use std::collections::BTreeMap;

use crate::TaskId;
use crate::error::TaskError;
use crate::job::Job;
use crate::priority::Priority;
use crate::process::transport::entry::CallState;
use crate::process::transport::ring::Ring;
use crate::process::transport::{Revoked, Taken, TakenBy, Transport, Written};
use crate::sync::lock::Mutex;
use crate::task::AnyTask;
use crate::time::clock::Stamp;

/// See the module documentation.
pub(super) struct FakePeer {
    pub(super) number: u64,
    /// As a shared page, or one call at a time, as over sockets.
    pub(super) pipelined: bool,
    pub(super) calls: Mutex<BTreeMap<u64, FakeCall>>,
    pub(super) told: Mutex<Told>,
}

/// What the scheduler's actions have done to a worker process.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Told {
    pub(super) woken: bool,
    pub(super) exit_requested: bool,
    pub(super) killed: bool,
}

pub(super) struct FakeCall {
    pub(super) id: TaskId,
    pub(super) state: CallState,
    /// It is on its way to the worker, and can't be revoked.
    pub(super) has_set_out: bool,
    pub(super) begun: Stamp,
    pub(super) nanos: u64,
    /// Its reply comes over a socket, after it is done.
    pub(super) reply_follows: bool,
}

impl FakePeer {
    pub(super) fn new(number: u64, pipelined: bool) -> Self {
        let (calls, told) = (Mutex::default(), Mutex::default());
        FakePeer { number, pipelined, calls, told }
    }

    /// Calls that have neither been revoked nor ended.
    pub(super) fn has_work(&self) -> bool {
        let works = |call: &FakeCall| matches!(call.state, CallState::Sent | CallState::Begun);
        self.calls.lock().values().any(works)
    }
}

impl Transport for FakePeer {
    type Reply = ();

    fn is_pipelined(&self) -> bool {
        self.pipelined
    }

    fn args_ring(&self) -> Ring {
        Ring::default()
    }

    fn send(
        &self,
        call: u64,
        job: &Job,
        _priority: Priority,
        _args_ring: Option<&mut Ring>,
    ) -> Result<Written, TaskError> {
        let sent = FakeCall {
            id: job.header().id(),
            state: CallState::Sent,
            has_set_out: false,
            begun: 0,
            nanos: 0,
            reply_follows: false,
        };
        assert!(self.calls.lock().insert(call, sent).is_none(), "a number is used twice");
        // Until the worker is woken.
        self.told.lock().woken = false;
        Ok(Written { inline: self.pipelined })
    }

    fn post_messages(&self, _call: u64, _task: &dyn AnyTask) {}

    fn state(&self, call: u64) -> Option<CallState> {
        self.calls.lock().get(&call).map(|call| call.state)
    }

    fn is_reply_in_transit(&self, call: u64) -> bool {
        let calls = self.calls.lock();
        calls.get(&call).is_some_and(|call| call.reply_follows || !self.pipelined)
    }

    fn is_in_transit(&self, call: u64) -> bool {
        let calls = self.calls.lock();
        calls.get(&call).is_some_and(|call| call.state == CallState::Sent && call.has_set_out)
    }

    fn begun(&self, call: u64) -> Stamp {
        self.calls.lock().get(&call).map_or(0, |call| call.begun)
    }

    fn noted_begin(&self, call: u64) -> Option<Stamp> {
        Some(self.begun(call)).filter(|begun| *begun != 0)
    }

    fn revoke(&self, call: u64) -> Revoked {
        let mut calls = self.calls.lock();
        match calls.get_mut(&call) {
            Some(call) if call.state == CallState::Sent && !call.has_set_out => {
                call.state = CallState::Revoked;
                if self.pipelined { Revoked::ToSkip } else { Revoked::Unseen }
            }
            _ => Revoked::No,
        }
    }

    fn assume_begun(&self, call: u64, now: Stamp) {
        if let Some(call) = self.calls.lock().get_mut(&call) {
            (call.state, call.begun) = (CallState::Begun, now);
        }
    }

    fn set_prompt(&self, _prompt: bool) {}

    fn take_reply(&self, call: u64, by: TakenBy) -> Taken<()> {
        let calls = self.calls.lock();
        let Some(call) = calls.get(&call) else { return Taken::Invalid };
        if by == TakenBy::Waiter && (call.reply_follows || !self.pipelined) {
            return Taken::NotYet;
        }
        Taken::Reply { reply: (), nanos: call.nanos, in_transit: call.reply_follows }
    }
}
