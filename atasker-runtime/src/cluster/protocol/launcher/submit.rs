//! Storing a call: its key, its arguments, its entry.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::unique::{self, Key};
use super::{Call, Launcher, Progress};
use crate::cluster::broker::{BrokerError, Expect, Kept, Since};
use crate::cluster::door::CallEvent;
use crate::cluster::error::ClusterError;
use crate::cluster::protocol::member::Member;
use crate::cluster::protocol::pause::Pause;
use crate::cluster::protocol::payload::{self, args_key};
use crate::cluster::protocol::record::{
    Borrowed, CallState, Outcome, encode_entry, encode_record, record_filter, record_key,
};
use crate::error::TaskError;

/// How long a broker that is there, but can't store anything, is given.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(10);

/// How often the queues are tried again while they are full.
const FULL_FOR: Duration = Duration::from_millis(50);

/// Stores a call. Its end is told if that is not possible.
pub(super) async fn submit(member: &Rc<Member>, call: &Rc<Call>, args: &[u8]) {
    let launcher = &member.launcher;
    // Nothing that happens to the call may be missed.
    launcher.watch_origin(member, call).await;
    if call.has_ended() {
        return;
    }
    if let Err(error) = store(member, call, args).await {
        launcher.fail(member, call, error);
    }
}

async fn store(member: &Rc<Member>, call: &Rc<Call>, args: &[u8]) -> Result<(), TaskError> {
    let bytes = args.len() as u64;
    if bytes > payload::LIMIT {
        let limit = payload::LIMIT;
        return Err(TaskError::Cluster(ClusterError::TooLarge { bytes, limit }));
    }
    if let Some(key) = &call.head.unique
        && let Key::HeldBy(id) = Box::pin(unique::take(member, key, call.head.id)).await
    {
        return Err(TaskError::Duplicate { id });
    }
    // It may have been canceled while its key was taken.
    if call.has_ended() {
        return Ok(());
    }
    if !member.is_large(args) {
        enqueue(member, call, Borrowed::Inline(args)).await?;
        member.launcher.is_stored(member, call);
        return Ok(());
    }
    // In a box, because most calls need no room for it.
    Box::pin(store_with_blocks(member, call, args)).await
}

/// Stores a call with large arguments.
async fn store_with_blocks(
    member: &Rc<Member>,
    call: &Rc<Call>,
    args: &[u8],
) -> Result<(), TaskError> {
    let args = member.put_blocks(Kept::AsRecords, args, args_key(call.head.id)).await;
    if call.has_ended() {
        drop(member.remove_payload(&args).await);
        return Ok(());
    }
    let stored = enqueue(member, call, args.as_borrowed()).await;
    if stored.is_err() {
        drop(member.remove_payload(&args).await);
    } else {
        member.launcher.is_stored(member, call);
    }
    stored
}

/// Appends the entry, and repeats that until it is acknowledged or refused.
async fn enqueue(
    member: &Rc<Member>,
    call: &Rc<Call>,
    args: Borrowed<'_>,
) -> Result<(), TaskError> {
    let head = &call.head;
    let key = head.entry_key();
    let mut pause = Pause::new();
    let mut is_unsure = false;
    let mut unavailable_since = None;
    // From here on, a node may have it.
    call.is_sent.set(true);
    loop {
        // Encoded anew for each attempt, of which there is nearly always one.
        let entry = encode_entry(head, member.id(), args);
        let error = match member.broker.enqueue(&key, entry).await {
            Ok(()) => {
                set_full(member, false);
                return Ok(());
            }
            Err(error) => error,
        };
        if call.has_ended() {
            set_full(member, false);
            return Ok(());
        }
        let refusal = match &error {
            BrokerError::Full if member.shared.limits.blocks_when_full => {
                set_full(member, true);
                tokio::time::sleep(FULL_FOR).await;
                continue;
            }
            BrokerError::Full => Some(TaskError::QueueFull),
            BrokerError::Denied(_) => Some(TaskError::Cluster(error.clone().into())),
            BrokerError::Unavailable(_) => {
                let since = *unavailable_since.get_or_insert_with(Instant::now);
                (since.elapsed() > UNAVAILABLE_FOR)
                    .then(|| TaskError::Cluster(error.clone().into()))
            }
            _ => None,
        };
        if let Some(refusal) = refusal {
            if is_unsure {
                return Box::pin(refuse(member, call, refusal)).await;
            }
            return Err(refusal);
        }
        is_unsure |= !matches!(error, BrokerError::Unavailable(_));
        member.trouble("enqueue", &error);
        pause.wait(member).await;
    }
}

/// The broker has refused an entry that may be there all the same, because an earlier request was not
/// answered. So the outcome is written to the record, where a node would find it. If it can't be, the
/// call is running.
async fn refuse(member: &Member, call: &Call, error: TaskError) -> Result<(), TaskError> {
    let outcome = Outcome::Failed(error.clone());
    let ended = CallState::Ended { outcome, attempt: 0, losses: 0, node: None };
    let value = || encode_record(&call.head, &ended);
    match member.write_surely(&record_key(call.head.id), Expect::Absent, value).await {
        Ok(_) => Err(error),
        Err(_) => Ok(()),
    }
}

fn set_full(member: &Member, is_full: bool) {
    if member.shared.full.swap(is_full, Ordering::SeqCst) && !is_full {
        member.shared.room_changed();
    }
}

impl Launcher {
    /// The broker has acknowledged a call.
    pub(super) fn is_stored(&self, member: &Rc<Member>, call: &Rc<Call>) {
        self.no_longer_pending(member, call);
        if !matches!(*call.progress.borrow(), Progress::Submitted) {
            return;
        }
        *call.progress.borrow_mut() = Progress::Stored;
        let expires_at = Some(super::expiry::first_deadline(member, &call.head, Duration::ZERO));
        call.expires_at.set(expires_at);
        self.deadlines.set(call, expires_at);
        call.tell(CallEvent::Stored);
    }

    /// Watches the records of all calls whose ids have this origin. Returns once it is in effect.
    pub(super) async fn watch_origin(&self, member: &Rc<Member>, call: &Call) {
        let (origin, _) = call.head.id.to_parts();
        let watch = self.watches.borrow_mut().entry(origin).or_default().clone();
        if watch.initialized() {
            return;
        }
        let begin = || async {
            member.listen().await;
            let filter = record_filter(origin);
            member
                .surely("watch", || {
                    let reporter = member.reporter();
                    let sink = Box::new(move |record| {
                        reporter.report(move |member| member.launcher.written(member, record));
                    });
                    member.broker.watch(&filter, Since::Now, sink)
                })
                .await
        };
        Box::pin(watch.get_or_init(begin)).await;
    }
}
