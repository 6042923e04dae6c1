//! The observer of one supervisor: counts for the history, and collects failures.
//!
//! A second is recorded when it is over, by an entry of the timer that the first event of that
//! second adds. So a second in which nothing happens costs nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::counts::Counts;
use super::events::Hub;
use super::history::{History, LEN, Places};
use crate::error::TaskError;
use crate::info::{Outcome, TaskInfo, TaskStatus};
use crate::info_serde;
use crate::observe::observer::{Observer, TaskEvent};
use crate::observe::outcome;
use crate::supervisor::Core;
use crate::sync::lock::Mutex;
use crate::text::prefix;
use crate::time::clock::{self, Stamp};
use crate::time::timer;

/// The number of failures that are kept.
pub(super) const FAILURES: usize = 200;
/// The length of the text of an error, in bytes.
const ERROR_LEN: usize = 16 * 1024;

/// A task that has failed.
#[derive(Serialize)]
pub(super) struct Failure {
    #[serde(flatten)]
    info: TaskInfo,
    /// The key of the supervisor.
    supervisor: u64,
    error: String,
    #[serde(serialize_with = "info_serde::time")]
    time: SystemTime,
}

/// The seconds since the start of a dashboard.
#[derive(Clone, Copy)]
pub(super) struct Seconds {
    start: Stamp,
}

impl Seconds {
    pub(super) fn new() -> Self {
        Seconds { start: clock::now() }
    }

    /// Returns the number of the current second.
    pub(super) fn now(self) -> u64 {
        clock::now().saturating_sub(self.start) / 1_000_000_000
    }

    /// Returns the begin of a second.
    pub(super) fn begin(self, second: u64) -> Stamp {
        clock::add(self.start, Duration::from_secs(second))
    }
}

/// See the module documentation.
pub(super) struct Recorder {
    this: Weak<Recorder>,
    core: Weak<Core>,
    key: u64,
    id: String,
    seconds: Seconds,
    counts: Counts,
    /// An entry of the timer will record a second.
    armed: AtomicBool,
    /// The second that it will record.
    armed_for: AtomicU64,
    history: Mutex<History>,
    /// The newest last.
    failures: Mutex<VecDeque<Arc<Failure>>>,
    hub: Arc<Hub>,
}

impl Recorder {
    pub(super) fn new(core: &Arc<Core>, seconds: Seconds, hub: &Arc<Hub>) -> Arc<Self> {
        let history = History::new(seconds.now(), core.gauges());
        Arc::new_cyclic(|this| Recorder {
            this: Weak::clone(this),
            core: Arc::downgrade(core),
            key: core.key().get(),
            id: core.id().to_owned(),
            seconds,
            counts: Counts::new(),
            armed: AtomicBool::new(false),
            armed_for: AtomicU64::new(0),
            history: Mutex::new(history),
            failures: Mutex::new(VecDeque::with_capacity(FAILURES)),
            hub: Arc::clone(hub),
        })
    }

    pub(super) fn key(&self) -> u64 {
        self.key
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn core(&self) -> Option<Arc<Core>> {
        self.core.upgrade()
    }

    /// Returns the failures, the newest first.
    pub(super) fn failures(&self) -> Vec<Arc<Failure>> {
        self.failures.lock().iter().rev().cloned().collect()
    }

    /// Something has happened, and is counted.
    #[inline]
    fn touch(&self) {
        // SeqCst, as the counters: either this sees that the timer's entry has disarmed, and arms
        // again, or that entry, which disarms first, reads the count.
        if !self.armed.load(Ordering::SeqCst) {
            self.arm();
        }
    }

    #[cold]
    fn arm(&self) {
        if self.armed.swap(true, Ordering::SeqCst) {
            return;
        }
        let second = self.seconds.now();
        self.armed_for.store(second, Ordering::SeqCst);
        let this = Weak::clone(&self.this);
        let end = clock::instant(self.seconds.begin(second + 1));
        timer::at(end, move || {
            if let Some(recorder) = this.upgrade() {
                recorder.record();
            }
        });
    }

    /// Records the second that is over.
    fn record(&self) {
        let Some(core) = self.core() else { return };
        let second = self.armed_for.load(Ordering::SeqCst);
        self.armed.store(false, Ordering::SeqCst);
        let totals = self.counts.read();
        let gauges = core.gauges();
        self.history.lock().record(second, totals, gauges);
    }

    /// Returns the latest points: `len` of them, up to the second `now`.
    pub(super) fn points(&self, now: u64, len: u64) -> Option<Places> {
        let gauges = self.core()?.gauges();
        let totals = self.counts.read();
        let len = usize::try_from(len).unwrap_or(LEN).min(LEN);
        let mut history = self.history.lock();
        history.fill(now);
        Some(history.points(now, len, &totals, gauges))
    }

    #[cold]
    fn failed(&self, task: &TaskEvent<'_>, error: Option<&TaskError>) {
        let time = SystemTime::now();
        // The end is not visible in the task yet.
        let mut info = task.info();
        info.status = TaskStatus::Completed;
        info.time_completed = Some(time);
        let failure = Arc::new(Failure { info, supervisor: self.key, error: text(error), time });
        let oldest = {
            let mut failures = self.failures.lock();
            let oldest = if failures.len() == FAILURES { failures.pop_front() } else { None };
            failures.push_back(Arc::clone(&failure));
            oldest
        };
        drop(oldest);
        self.hub.failed(&failure);
    }
}

/// Returns the text of an error, with its backtrace, cut to [`ERROR_LEN`].
pub(super) fn text(error: Option<&TaskError>) -> String {
    let mut text = match error {
        None => "the function returned an `Err`".to_owned(),
        Some(error) => error.to_string(),
    };
    if let Some(TaskError::Panicked { backtrace: Some(backtrace), .. }) = error {
        text.push('\n');
        text.push_str(backtrace);
    }
    if text.len() > ERROR_LEN {
        const CUT: &str = " ...";
        text.truncate(prefix(&text, ERROR_LEN - CUT.len()).len());
        text.push_str(CUT);
        text.shrink_to_fit();
    }
    text
}

/// Returns whether an end with this word is shown as a failure.
fn is_failure(word: &str) -> bool {
    !matches!(word, "ok" | "canceled" | "rejected")
}

impl Observer for Recorder {
    fn launched(&self, task: &TaskEvent<'_>) {
        self.counts.launched(task.tt());
        self.touch();
    }

    fn started(&self, task: &TaskEvent<'_>) {
        if let Some(queued_for) = task.queued_for() {
            self.counts.queued_for(task.tt(), queued_for);
        }
        self.touch();
    }

    fn retrying(&self, task: &TaskEvent<'_>, _error: Option<&TaskError>, _pause: Duration) {
        if let Some(ran_for) = task.ran_for() {
            self.counts.ran_for(task.tt(), ran_for);
        }
        self.touch();
    }

    fn ended(&self, task: &TaskEvent<'_>, result: Result<(), &TaskError>) {
        if let Some(ran_for) = task.ran_for() {
            self.counts.ran_for(task.tt(), ran_for);
        }
        let outcome = outcome::index_of(result.err(), task.outcome() == Some(Outcome::ReturnedErr));
        self.counts.ended(task.tt(), outcome);
        self.touch();
        if is_failure(outcome::WORDS[outcome]) {
            self.failed(task, result.err());
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_characters() {
        for fill in ["x", "é", "日", "🦀"] {
            let error = TaskError::not_started(fill.repeat(ERROR_LEN));
            let text = text(Some(&error));
            assert!(text.len() <= ERROR_LEN && text.len() > ERROR_LEN - 8, "{}", text.len());
            assert!(text.ends_with(" ..."));
        }
        assert_eq!(text(Some(&TaskError::Canceled)), "the task was canceled");
    }
}
