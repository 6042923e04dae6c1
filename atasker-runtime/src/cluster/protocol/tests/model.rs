//! What has to hold at the end of a history: the sentences about delivery, as checks of the records,
//! of the runs and of what the handles were told.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::runner::{Ends, Plan};
use super::world::{Living, Told, World};
use crate::cluster::broker::Record;
use crate::cluster::door::{CallEvent, CallHead, Canceled};
use crate::cluster::protocol::record::{CallRecord, CallState, Outcome, id_of_key};
use crate::error::TaskError;
use crate::id::TaskId;

/// A call of a history.
pub(super) struct Launched {
    pub(super) head: CallHead,
    pub(super) plan: Plan,
    pub(super) launcher: usize,
    pub(super) told: Arc<Told>,
    /// What others were told that have attached to it.
    pub(super) attached: Vec<(usize, Arc<Told>)>,
    pub(super) canceled: Vec<(Canceled, Instant)>,
    pub(super) was_stopped: bool,
}

/// Checks each write to the record of a call against the one before, and returns the outcomes.
pub(super) fn check_records(history: &[Record], calls: &[Launched]) -> BTreeMap<TaskId, CallState> {
    let heads: BTreeMap<_, _> = calls.iter().map(|call| (call.head.id, &call.head)).collect();
    let mut last: BTreeMap<TaskId, CallState> = BTreeMap::new();
    for record in history {
        let Some(id) = id_of_key(&record.key) else { continue };
        let CallRecord { head, state } = CallRecord::decode(&record.value).unwrap();
        assert_eq!(Some(&&head), heads.get(&id));
        let before = last.insert(id, state.clone());
        let is_allowed = match (&before, &state) {
            (None, CallState::Running { attempt: 1, losses: 0, .. }) => true,
            (None, CallState::Ended { attempt: 0, losses: 0, outcome: Outcome::Failed(_), .. }) => {
                true
            }
            (
                Some(CallState::Waiting { attempt, losses, .. }),
                CallState::Running { attempt: now, losses: lost, .. },
            ) => *now == attempt + 1 && lost == losses,
            // Its node is lost.
            (
                Some(CallState::Running { attempt, losses, claim: a, .. }),
                CallState::Running { attempt: now, losses: lost, claim: b, .. },
            ) => a != b && *now == attempt + 1 && *lost == losses + 1 && *lost <= head.redeliver,
            (
                Some(CallState::Running { attempt, losses, .. }),
                CallState::Waiting { attempt: now, losses: lost, .. },
            ) => {
                let ended_badly = (now, lost) == (attempt, losses);
                let handed_back = (*now, *lost) == (attempt - 1, *losses);
                let cut_off = (*now, *lost) == (*attempt, losses + 1) && *lost <= head.redeliver;
                ended_badly || handed_back || cut_off
            }
            (
                Some(CallState::Running { losses, .. }),
                CallState::Ended { outcome, losses: lost, node, .. },
            ) => match outcome {
                Outcome::Failed(TaskError::NodeLost { .. }) => {
                    *lost == losses + 1 && *lost > head.redeliver
                }
                Outcome::Returned { .. } => lost == losses && node.is_some(),
                Outcome::Failed(_) => lost == losses,
            },
            (Some(CallState::Waiting { attempt, .. }), CallState::Ended { outcome, .. }) => {
                match outcome {
                    Outcome::Failed(TaskError::Canceled) => true,
                    Outcome::Failed(TaskError::Expired { .. }) => *attempt == 0,
                    _ => false,
                }
            }
            _ => false,
        };
        assert!(is_allowed, "{id}: {before:?} was followed by {state:?}");
    }
    last
}

pub(super) fn check_call(
    call: &Launched,
    world: &World,
    last: Option<&CallState>,
    launchers: &[Option<Living>],
) {
    let head = &call.head;
    let log = world.log.lock();
    let runs = log.runs.get(&head.id).cloned().unwrap_or_default();
    let launcher_lives = launchers[call.launcher].is_some();
    assert!(runs.len() <= 1 + (head.retries + head.redeliver) as usize, "{runs:?}");
    match last {
        None => {
            // It was never stored, and never ran.
            assert!(runs.is_empty(), "{runs:?}");
            if launcher_lives {
                let outcome = call.told.ends().remove(0).outcome;
                let is_refused = matches!(
                    outcome,
                    Err(TaskError::Canceled | TaskError::Duplicate { .. } | TaskError::QueueFull)
                );
                assert!(is_refused, "{outcome:?}");
            }
        }
        Some(CallState::Ended { outcome, attempt, losses, .. }) => {
            let attached = call.attached.iter().filter(|(by, _)| launchers[*by].is_some());
            let attached = attached.map(|(_, told)| told);
            for told in attached.chain(launcher_lives.then_some(&call.told)) {
                check_told(told, outcome, *attempt, *losses);
            }
            if !call.was_stopped {
                assert_ne!(*outcome, Outcome::Failed(TaskError::Canceled));
                let has_failed = match outcome {
                    Outcome::Returned { is_err, .. } => *is_err,
                    Outcome::Failed(error) => error.is_panic(),
                };
                // Losses do not use up the retries.
                assert!(!has_failed || attempt - losses == head.retries + 1, "{last:?}");
            }
            if let Outcome::Returned { is_err, .. } = outcome {
                let deed = call.plan.0[(*attempt as usize - 1).min(3)];
                assert_eq!(*is_err, deed.ends == Ends::Err);
            }
        }
        Some(other) => panic!("{head:?} has ended as {other:?}"),
    }
    for (canceled, at) in &call.canceled {
        if *canceled == Canceled::Yes {
            let later = runs.iter().find(|run| run.begun > *at);
            assert!(later.is_none(), "{head:?} was canceled at {at:?}: {runs:?}");
            let is_canceled = match last {
                None => true,
                Some(CallState::Ended { outcome, .. }) => {
                    *outcome == Outcome::Failed(TaskError::Canceled)
                }
                Some(_) => false,
            };
            assert!(is_canceled, "{last:?}");
        }
    }
    // Each attempt has got messages in order, each once, and those that the one before has not taken.
    for run in &runs {
        let in_order = run.received.windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert!(in_order, "{:?}", run.received);
    }
}

fn check_told(told: &Told, outcome: &Outcome, attempt: u32, losses: u32) {
    let ends = told.ends();
    assert_eq!(ends.len(), 1, "{:?}", told.events.lock());
    let end = &ends[0];
    match (outcome, &end.outcome) {
        (Outcome::Returned { .. }, Ok(result)) => assert_eq!(result, &[attempt as u8]),
        (Outcome::Failed(error), Err(told)) => assert_eq!(error, told),
        other => panic!("{other:?}"),
    }
    assert_eq!((end.attempt, end.losses), (attempt, losses));
    let last = told.events.lock().last().cloned();
    assert!(matches!(last, Some(CallEvent::Ended(_))), "{last:?} after the end");
    // In order, and each once per attempt.
    let mut next: BTreeMap<u8, u8> = BTreeMap::new();
    for message in told.messages() {
        let [attempt, number] = message[..] else { panic!("{message:?}") };
        let next = next.entry(attempt).or_insert(number);
        assert_eq!(*next, number, "{:?}", told.messages());
        *next += 1;
    }
}
