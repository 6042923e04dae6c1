//! Dead letters: calls that have ended badly, with their arguments.

use std::rc::Rc;

use super::member::Member;
use super::record::{CallEntry, Dead};
use crate::cluster::broker::{BrokerError, EntryKey};
use crate::cluster::door::DeadCall;
use crate::cluster::error::ClusterError;
use crate::error::TaskError;
use crate::id::TaskId;

/// The log of dead letters.
pub(super) const LOG: &str = "dead";

/// Appends a dead letter, and repeats that until it is done.
pub(super) async fn bury(member: &Member, entry: &CallEntry, error: Option<TaskError>) {
    let id = entry.head.id.to_string();
    let value = Dead { entry: entry.clone(), error }.encode();
    member.surely("append a dead letter", || member.broker.append(LOG, &id, value.clone())).await;
}

/// Like [`bury`], for a call that still waits in its queue.
pub(super) async fn bury_waiting(member: &Rc<Member>, id: TaskId, error: TaskError) {
    let key = id.to_string();
    let entry = member.surely("find an entry", || member.broker.find_entry(&key)).await;
    if let Some(Ok(entry)) = entry.map(|entry| CallEntry::decode(&entry.value)) {
        bury(member, &entry, Some(error)).await;
    }
}

pub(super) async fn list(member: &Rc<Member>) -> Result<Vec<DeadCall>, ClusterError> {
    let mut calls: Vec<DeadCall> = Vec::new();
    for logged in member.broker.log(LOG).await? {
        let Ok(dead) = Dead::decode(&logged.value) else { continue };
        let Dead { entry: CallEntry { head, .. }, error } = dead;
        // An append that was repeated is one letter.
        calls.retain(|before| before.head.id != head.id);
        calls.push(DeadCall { head, error, time: logged.time });
    }
    Ok(calls)
}

pub(super) async fn retry(member: &Rc<Member>, id: TaskId) -> Result<TaskId, ClusterError> {
    let key = id.to_string();
    let not_found = || ClusterError::NotFound { detail: format!("a dead letter with the id {id}") };
    let letters = member.broker.log(LOG).await?;
    let letter = letters.into_iter().rev().find(|letter| letter.key == key);
    let letter = letter.ok_or_else(not_found)?;
    let Dead { entry, .. } = Dead::decode(&letter.value).map_err(|error| {
        ClusterError::Incompatible { detail: format!("the dead letter {id}: {error}") }
    })?;
    let args = member.get_payload(entry.args).await?;
    let again = TaskId::next();
    let mut head = entry.head;
    head.id = again;
    let args = member.put_payload(&args, super::payload::args_key(again)).await;
    let launcher = member.id().to_owned();
    let key_again =
        EntryKey { queue: head.queue.clone(), priority: head.priority, id: again.to_string() };
    let entry = CallEntry { head, launcher, args };
    // The new call is stored before the letter is removed, so that nothing is lost in between.
    let value = entry.encode();
    let stored = member.surely("enqueue", || {
        let stored = member.broker.enqueue(&key_again, value.clone());
        Box::pin(async {
            match stored.await {
                Ok(()) => Ok(Ok(())),
                Err(error @ (BrokerError::Full | BrokerError::Denied(_))) => Ok(Err(error)),
                Err(error) => Err(error),
            }
        })
    });
    stored.await?;
    member.surely("remove a dead letter", || member.broker.remove_logged(LOG, &key)).await;
    Ok(again)
}

pub(super) async fn remove(member: &Rc<Member>, id: TaskId) -> Result<bool, ClusterError> {
    let key = id.to_string();
    let letters = member.broker.log(LOG).await?;
    let letter = letters.into_iter().rev().find(|letter| letter.key == key);
    let Some(letter) = letter else { return Ok(false) };
    let was_there = member.broker.remove_logged(LOG, &key).await?;
    if let Ok(dead) = Dead::decode(&letter.value) {
        drop(member.remove_payload(&dead.entry.args).await);
    }
    Ok(was_there)
}
