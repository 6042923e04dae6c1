//! Dead letters: calls that have ended badly, with their arguments.
//!
//! Letters are kept longer than calls. So arguments in blocks are copied, and those of the call are removed
//! only after the letter is there.

use std::rc::Rc;
use std::sync::Arc;

use super::launcher::unique::{self, Key};
use super::member::Member;
use super::payload::{args_key, dead_key};
use super::record::{CallEntry, Dead, Payload};
use super::surely::in_background;
use crate::cluster::broker::{BrokerError, Kept};
use crate::cluster::door::{CallHead, DeadCall};
use crate::cluster::error::ClusterError;
use crate::error::TaskError;
use crate::id::TaskId;

/// The log of dead letters.
pub(super) const LOG: &str = "dead";

/// Appends a dead letter, and repeats that until it is done. After that, the blocks of the arguments in
/// the entry are not needed any more.
pub(super) async fn bury(member: &Member, entry: &CallEntry, error: Option<TaskError>) {
    let id = entry.head.id.to_string();
    let entry = CallEntry { args: keep_args(member, entry).await, ..entry.clone() };
    let value = Dead { entry, error }.encode();
    member.surely("append a dead letter", || member.broker.append(LOG, &id, value.clone())).await;
}

/// Copies large arguments to where they are kept as long as the letter.
async fn keep_args(member: &Member, entry: &CallEntry) -> Payload {
    let args = &entry.args;
    let &Payload::Blocks { kept: Kept::AsRecords, count, bytes, .. } = args else {
        return args.clone();
    };
    let key = dead_key(entry.head.id);
    match member.get_payload(args.clone()).await {
        Ok(bytes) => member.put_blocks(Kept::AsLogs, &bytes, key).await,
        // They were removed after a node that died, or is late, had copied them.
        Err(_) => Payload::Blocks { kept: Kept::AsLogs, key, count, bytes },
    }
}

/// Like [`bury`], for a call that still waits in its queue. Removes its entry and its arguments.
pub(super) async fn bury_waiting(member: &Rc<Member>, head: &CallHead, error: TaskError) {
    let key = head.id.to_string();
    let entry = member.surely("find an entry", || member.broker.find_entry(&key)).await;
    let Some(Ok(entry)) = entry.map(|entry| CallEntry::decode(&entry.value)) else { return };
    bury(member, &entry, Some(error)).await;
    let key = head.entry_key();
    in_background(member, async move |member: &Member| {
        member.broker.remove_entry(&key).await?;
        member.remove_payload(&entry.args).await
    });
}

pub(super) async fn list(member: &Rc<Member>) -> Result<Vec<DeadCall>, ClusterError> {
    let mut calls: Vec<DeadCall> = Vec::new();
    for logged in member.broker.log(LOG).await? {
        let Ok(dead) = Dead::decode(&logged.value) else { continue };
        let Dead { entry: CallEntry { head, .. }, error } = dead;
        // An append that was repeated is one letter.
        calls.retain(|before| before.head.id != head.id);
        calls.push(DeadCall { head: Arc::unwrap_or_clone(head), error, time: logged.time });
    }
    Ok(calls)
}

/// Launches the call of a dead letter again, under a new id.
pub(super) async fn retry(member: &Rc<Member>, id: TaskId) -> Result<TaskId, ClusterError> {
    let key = id.to_string();
    let not_found = || ClusterError::NotFound { detail: format!("a dead letter with the id {id}") };
    let letters = member.broker.log(LOG).await?;
    let letter = letters.into_iter().rev().find(|letter| letter.key == key);
    let letter = letter.ok_or_else(not_found)?;
    let Dead { entry, .. } = Dead::decode(&letter.value).map_err(|error| {
        ClusterError::Incompatible { detail: format!("the dead letter {id}: {error}") }
    })?;
    let again = TaskId::next();
    // From here on, this member is asked whether the call is about to be stored.
    let _launching = member.launcher.launching(again);
    if let Some(unique) = &entry.head.unique
        && let Key::HeldBy(holder) = unique::take(member, unique, again).await
    {
        return Err(ClusterError::Duplicate { id: holder });
    }
    let buried = entry.args.clone();
    let args = member.get_payload(entry.args).await?;
    let head = Arc::new(CallHead { id: again, ..Arc::unwrap_or_clone(entry.head) });
    let args = member.put_payload(args, || args_key(again)).await;
    let key_again = head.entry_key();
    let entry = CallEntry { head, launcher: member.id().clone(), args };
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
    if let Err(error) = stored.await {
        drop(member.remove_payload(&entry.args).await);
        return Err(error.into());
    }
    member.surely("remove a dead letter", || member.broker.remove_logged(LOG, &key)).await;
    in_background(member, async move |member: &Member| member.remove_payload(&buried).await);
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
