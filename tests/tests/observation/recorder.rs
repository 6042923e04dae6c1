//! An observer that records what it is told.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use atasker::{
    BackgroundRun, Observer, Outcome, ProcessEvent, TaskError, TaskEvent, TaskId, WorkerDeath,
};
use atasker_tests::FAR;

/// One call of an observer about a task.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    pub id: TaskId,
    pub stage: &'static str,
    pub attempt: u32,
    pub outcome: Option<Outcome>,
    pub error: Option<TaskError>,
    pub queued_for: Option<Duration>,
    pub ran_for: Option<Duration>,
    pub worker: Option<u32>,
}

#[derive(Default)]
pub struct Recorder {
    calls: Mutex<Vec<Call>>,
    others: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn push(&self, stage: &'static str, task: &TaskEvent<'_>, error: Option<&TaskError>) {
        self.calls.lock().unwrap().push(Call {
            id: task.id(),
            stage,
            attempt: task.attempt(),
            outcome: task.outcome(),
            error: error.cloned(),
            queued_for: task.queued_for(),
            ran_for: task.ran_for(),
            worker: task.worker_pid(),
        });
        self.changed.notify_all();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The stages of one task.
    pub fn stages(&self, id: TaskId) -> Vec<&'static str> {
        self.of(id).iter().map(|call| call.stage).collect()
    }

    pub fn of(&self, id: TaskId) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.id == id).collect()
    }

    /// Waits until this stage of a task was reported.
    pub fn wait_for(&self, id: TaskId, stage: &str) {
        let is_there = |calls: &mut Vec<Call>| calls.iter().any(|c| c.id == id && c.stage == stage);
        let calls = self.calls.lock().unwrap();
        let (_calls, timeout) =
            self.changed.wait_timeout_while(calls, FAR, |calls| !is_there(calls)).unwrap();
        assert!(!timeout.timed_out(), "`{stage}` was not reported");
    }

    /// Waits for a report about something else than a task.
    pub fn wait_for_other(&self, start: &str) -> String {
        let mut others = self.others.lock().unwrap();
        loop {
            if let Some(found) = others.iter().find(|other| other.starts_with(start)) {
                return found.clone();
            }
            let (next, timeout) = self.changed.wait_timeout(others, FAR).unwrap();
            assert!(!timeout.timed_out(), "`{start}` was not reported");
            others = next;
        }
    }

    pub fn others(&self) -> Vec<String> {
        self.others.lock().unwrap().clone()
    }

    fn push_other(&self, text: String) {
        self.others.lock().unwrap().push(text);
        // The condition variable belongs to one mutex at a time.
        self.changed.notify_all();
    }
}

impl Observer for Recorder {
    fn launched(&self, task: &TaskEvent<'_>) {
        self.push("launched", task, None);
    }
    fn started(&self, task: &TaskEvent<'_>) {
        self.push("started", task, None);
    }
    fn retrying(&self, task: &TaskEvent<'_>, error: Option<&TaskError>, _pause: Duration) {
        self.push("retrying", task, error);
    }
    fn ended(&self, task: &TaskEvent<'_>, result: Result<(), &TaskError>) {
        self.push("ended", task, result.err());
    }
    fn process_started(&self, process: &ProcessEvent<'_>) {
        self.push_other(format!("process started {}", process.pid()));
    }
    fn process_ended(&self, process: &ProcessEvent<'_>, death: Option<&WorkerDeath>) {
        let cause = death.map_or_else(|| "in order".into(), |death| death.cause().to_string());
        let (pid, tasks) = (process.pid(), process.tasks_run());
        self.push_other(format!("process ended {pid} after {tasks}: {cause}"));
    }
    fn background_run(&self, run: &BackgroundRun<'_>) {
        let error = run.error().map(atasker::WorkerError::message);
        self.push_other(format!("run of {}, {}: {error:?}", run.name(), run.kind()));
    }
}
