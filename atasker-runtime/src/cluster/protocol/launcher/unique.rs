//! Unique keys: a record per key names the call that holds it.
//!
//! A key is not given back. It is free when the record of the call that holds it says that the call has
//! ended, and is taken over by compare-and-set then. So it is free before the end is seen, and it
//! can't stay taken because someone has died.

use std::rc::Rc;

use crate::cluster::broker::{BrokerError, Expect};
use crate::cluster::door::{CallHead, UniqueKey};
use crate::cluster::protocol::control::{Frame, Reply, subject};
use crate::cluster::protocol::member::Member;
use crate::cluster::protocol::pause::Pause;
use crate::cluster::protocol::record::{CallState, Holder, unique_key};
use crate::id::TaskId;

/// The answer to an attempt to take a key.
pub(in crate::cluster::protocol) enum Key {
    Ours,
    HeldBy(TaskId),
}

/// Takes a key for a call that is about to be stored.
pub(in crate::cluster::protocol) async fn take(
    member: &Rc<Member>,
    unique: &UniqueKey,
    id: TaskId,
) -> Key {
    let key = unique_key(unique);
    let ours = Holder { id, launcher: member.id().to_string(), keep: unique.keep };
    let mut expect = Expect::Absent;
    loop {
        if member.write_surely(&key, expect, || ours.encode()).await.is_ok() {
            return Key::Ours;
        }
        expect = match member.read_surely(&key).await {
            None => Expect::Absent,
            Some(record) => match Holder::decode(&record.value) {
                Ok(holder) if holder.id == id => return Key::Ours,
                Ok(holder) if !is_free(member, &holder).await => return Key::HeldBy(holder.id),
                // One that can't be read holds nothing for long: it was written by a newer version.
                _ => Expect::Number(record.number),
            },
        };
    }
}

async fn is_free(member: &Rc<Member>, holder: &Holder) -> bool {
    match member.read_state(holder.id).await {
        Ok(Some((record, state))) => match state {
            CallState::Ended { .. } => member.since(record.time).await >= holder.keep,
            CallState::Running { .. } | CallState::Waiting { .. } => false,
        },
        Err(_) => false,
        Ok(None) => {
            let id = holder.id.to_string();
            let waits = member.surely("find an entry", || member.broker.find_entry(&id)).await;
            if waits.is_some() || is_launching(member, holder).await {
                return false;
            }
            // It may have been stored, and even have begun, since the record was read.
            let waits = member.surely("find an entry", || member.broker.find_entry(&id)).await;
            waits.is_none() && matches!(member.read_state(holder.id).await, Ok(None))
        }
    }
}

/// Writes the record of a key again, which the broker would forget while the call still holds it.
/// `after_end` says that the call has ended: the key is kept for the rest of its time only.
pub(in crate::cluster::protocol) async fn refresh(
    member: &Rc<Member>,
    head: &CallHead,
    after_end: bool,
) {
    let Some(unique) = &head.unique else { return };
    if after_end && unique.keep.is_zero() {
        return;
    }
    let key = unique_key(unique);
    let Some(record) = member.read_surely(&key).await else { return };
    let is_ours = Holder::decode(&record.value).is_ok_and(|holder| holder.id == head.id);
    if !is_ours {
        return;
    }
    let age = member.since(record.time).await;
    if after_end && age + unique.keep <= member.shared.limits.keep {
        return;
    }
    // A conflict means that another call has taken the key over.
    _ = member.write_surely(&key, Expect::Number(record.number), || record.value.clone()).await;
}

/// Asks the launcher of a call whether it is about to store it.
async fn is_launching(member: &Rc<Member>, holder: &Holder) -> bool {
    if *holder.launcher == **member.id() {
        return member.launcher.has(holder.id);
    }
    let holds = Frame::Holds { id: holder.id, claim: 0, token: None }.encode();
    let mut pause = Pause::new();
    // Without an answer it may be: the key stays taken.
    for _ in 0..3 {
        let timeout = std::time::Duration::from_secs(1);
        match member.broker.request(&subject(&holder.launcher), holds.clone(), timeout).await {
            Ok(reply) => return Reply::decode(&reply) != Ok(Reply::NotHeld),
            Err(BrokerError::NoResponders) => return false,
            Err(error) => member.trouble("ask a launcher", &error),
        }
        pause.wait(member).await;
    }
    true
}
