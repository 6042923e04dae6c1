//! Requests that are repeated until the broker has answered.
//!
//! A request without an answer may have been carried out. All of these have the same effect if they are
//! carried out again. A write that was carried out is refused when it is asked for again, because the
//! record is no longer as expected, and is recognized by a look at what is written.

use std::rc::Rc;

use super::member::Member;
use super::pause::Pause;
use super::record::{CallRecord, CallState, record_key};
use crate::cluster::broker::{BrokerError, BrokerFuture, Expect, Record};
use crate::id::TaskId;

/// The last write to a key is another one than was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conflict;

impl Member {
    /// Writes a record if its last write is as expected, and returns the number of the write.
    ///
    /// The value has to differ from all others that are written to the key, because it is how a write
    /// without an answer is recognized. It is made anew for each attempt, of which there is nearly always
    /// one.
    ///
    /// A write that was carried out without an answer, and that another one has followed since, is a
    /// conflict too: what the caller wanted to build on it is over.
    pub(super) async fn write_surely(
        &self,
        key: &str,
        expect: Expect,
        value: impl Fn() -> Vec<u8>,
    ) -> Result<u64, Conflict> {
        let token = self.token();
        let mut pause = Pause::new();
        let mut is_unsure = false;
        loop {
            match self.broker.write(key, expect, &token, value()).await {
                Ok(number) => return Ok(number),
                Err(BrokerError::Conflict) if is_unsure => {
                    let record = Box::pin(self.read_surely(key)).await;
                    let ours = record.filter(|record| record.value == value());
                    return ours.map(|record| record.number).ok_or(Conflict);
                }
                Err(BrokerError::Conflict) => return Err(Conflict),
                Err(error) => self.trouble("write", &error),
            }
            is_unsure = true;
            pause.wait(self).await;
        }
    }

    pub(super) async fn read_surely(&self, key: &str) -> Option<Record> {
        self.surely("read", || self.broker.read(key)).await
    }

    /// Reads the record of a call. One that can't be read is treated as an error by `unreadable`.
    pub(super) async fn read_call(
        &self,
        id: TaskId,
    ) -> Result<Option<(Record, CallRecord)>, super::bytes::Unreadable> {
        let Some(record) = self.read_surely(&record_key(id)).await else { return Ok(None) };
        let call = CallRecord::decode(&record.value)?;
        Ok(Some((record, call)))
    }

    /// Reads the state of a call, by one who knows its head or does not need it.
    pub(super) async fn read_state(
        &self,
        id: TaskId,
    ) -> Result<Option<(Record, CallState)>, super::bytes::Unreadable> {
        let Some(record) = self.read_surely(&record_key(id)).await else { return Ok(None) };
        let state = CallState::decode(&record.value)?;
        Ok(Some((record, state)))
    }

    /// Repeats a request until it succeeds.
    pub(super) async fn surely<'a, T>(
        &'a self,
        what: &'static str,
        mut request: impl FnMut() -> BrokerFuture<'a, Result<T, BrokerError>>,
    ) -> T {
        let mut pause = Pause::new();
        loop {
            match request().await {
                Ok(answer) => return answer,
                Err(error) => self.trouble(what, &error),
            }
            pause.wait(self).await;
        }
    }
}

/// Runs a request whose failure changes nothing for good, in the background.
pub(super) fn in_background(
    member: &Rc<Member>,
    request: impl AsyncFnOnce(&Member) -> Result<(), BrokerError> + 'static,
) {
    let of = member.clone();
    member.spawn(async move {
        if let Err(error) = request(&of).await {
            of.trouble("clean up", &error);
        }
    });
}
