//! The words for how an attempt or a task ends: the same in events, spans, metrics and dashboards.

use crate::error::TaskError;

/// All words. Counters by outcome have this order.
pub(crate) const WORDS: [&str; 9] = [
    "ok",
    "returned_err",
    "panicked",
    "canceled",
    "timed_out",
    "worker_died",
    "expired",
    "rejected",
    "other",
];

/// Returns the index in [`WORDS`] of an end with this error, or with a value.
pub(crate) fn index_of(error: Option<&TaskError>, returned_err: bool) -> usize {
    match error {
        None if returned_err => 1,
        None => 0,
        Some(TaskError::Panicked { .. }) => 2,
        Some(TaskError::Canceled) => 3,
        Some(TaskError::TimedOut { .. }) => 4,
        Some(TaskError::WorkerDied(_)) => 5,
        Some(TaskError::Expired { .. }) => 6,
        Some(TaskError::QueueFull | TaskError::SupervisorStopped | TaskError::Duplicate { .. }) => {
            7
        }
        Some(
            TaskError::Codec { .. } | TaskError::NotStarted { .. } | TaskError::NodeLost { .. },
        ) => 8,
        #[cfg(feature = "remote")]
        Some(TaskError::Cluster(_)) => 8,
    }
}

/// Returns the word for an end with this error, or with a value.
pub(crate) fn word(error: Option<&TaskError>, returned_err: bool) -> &'static str {
    WORDS[index_of(error, returned_err)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{DeathCause, WorkerDeath};
    use crate::id::TaskId;
    use std::time::Duration;

    #[test]
    fn errors_have_their_words() {
        let panicked =
            TaskError::Panicked { message: String::new(), location: None, backtrace: None };
        let ends = [
            (Some(panicked), "panicked"),
            (Some(TaskError::Canceled), "canceled"),
            (Some(TaskError::TimedOut { limit: Duration::ZERO }), "timed_out"),
            (Some(TaskError::WorkerDied(WorkerDeath::new(1, DeathCause::Exit(1)))), "worker_died"),
            (Some(TaskError::Expired { after: Duration::ZERO, detail: String::new() }), "expired"),
            (Some(TaskError::QueueFull), "rejected"),
            (Some(TaskError::Duplicate { id: TaskId::next() }), "rejected"),
            (Some(TaskError::SupervisorStopped), "rejected"),
            (Some(TaskError::not_started("")), "other"),
            (None, "ok"),
        ];
        for (error, expected) in ends {
            assert_eq!(word(error.as_ref(), false), expected);
        }
        assert_eq!(word(None, true), "returned_err");
    }
}
