//! The present state of all supervisors that a dashboard shows, as JSON.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::ser::Serializer;

use super::clusters::{self, ClusterState};
use super::shared::Shared;
use super::watch::{Failure, Recorder};
use crate::id::TaskId;
use crate::info::{
    BackgroundWorkerInfo, JobInfo, SupervisorInfo, TaskInfo, WorkerKind, WorkerProcessInfo,
};
use crate::supervisor::view;
use crate::supervisor::{ActiveWorker, Core, Operation, WorkerSnapshot};
use crate::sys::usage;
use crate::time::clock;
use crate::unwind::discard;

/// The number of running tasks, and of waiting ones, that are listed of a supervisor.
const TASKS: usize = 500;

#[derive(Serialize)]
struct State {
    supervisors: Vec<SupervisorState>,
    clusters: Vec<ClusterState>,
}

#[derive(Serialize)]
struct SupervisorState {
    key: u64,
    info: SupervisorInfo,
    running: Vec<TaskInfo>,
    waiting: Vec<TaskInfo>,
    running_total: usize,
    waiting_total: usize,
    failures: Vec<Shown<Failure>>,
    processes: Vec<Process>,
    background: Vec<Background>,
}

/// Serializes what others hold, too.
struct Shown<T>(Arc<T>);

impl<T: Serialize> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(&self.0, serializer)
    }
}

#[derive(Serialize)]
struct Process {
    #[serde(flatten)]
    info: WorkerProcessInfo,
    rss_bytes: Option<u64>,
    cpu_percent: Option<f64>,
}

#[derive(Serialize)]
struct Background {
    key: u64,
    kind: WorkerKind,
    can: Vec<&'static str>,
    #[serde(flatten)]
    info: BackgroundInfo,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BackgroundInfo {
    Worker(UnkindedWorker),
    Job(JobInfo),
}

/// A worker without its kind, which [`Background`] has.
struct UnkindedWorker(BackgroundWorkerInfo);

impl Serialize for UnkindedWorker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Through a map, because the field is one of the public type.
        let mut fields = serde_json::to_value(&self.0).map_err(serde::ser::Error::custom)?;
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("kind");
        }
        fields.serialize(serializer)
    }
}

/// What the computation of a state keeps for the next one.
#[derive(Default)]
pub(super) struct Collector {
    /// The CPU times of worker processes, by process id and number.
    cpu: HashMap<(u32, u64), CpuSample>,
}

/// A reading of the CPU time of a process.
#[derive(Clone, Copy)]
struct CpuSample {
    at: Instant,
    used: Duration,
    /// The reading that the next percentage refers to, unless this one is old enough.
    before: Option<(Instant, Duration)>,
}

impl CpuSample {
    /// The system counts CPU time in ticks of 10 ms: a shorter interval says little.
    const SHORTEST: Duration = Duration::from_millis(500);

    /// Adds a reading. Returns the use since an earlier one, in percent of a CPU.
    fn next(&mut self, at: Instant, used: Duration) -> Option<f64> {
        let (since, base) = match self.before {
            Some(before) if at.saturating_duration_since(self.at) < Self::SHORTEST => before,
            _ => (self.at, self.used),
        };
        let time = at.saturating_duration_since(since).as_secs_f64();
        if at.saturating_duration_since(self.at) >= Self::SHORTEST {
            *self = CpuSample { at, used, before: Some((self.at, self.used)) };
        }
        let percent = used.saturating_sub(base).as_secs_f64() / time.max(0.001) * 100.0;
        Some((percent * 10.0).round() / 10.0)
    }
}

/// Returns the present state. May take milliseconds.
pub(super) fn collect(shared: &Shared) -> Vec<u8> {
    let recorders = shared.recorders();
    let (recorders, cores): (Vec<Arc<Recorder>>, Vec<Arc<Core>>) = recorders
        .into_iter()
        .filter_map(|recorder| {
            let core = recorder.core()?;
            Some((recorder, core))
        })
        .unzip();
    let tasks = view::tasks(&cores, TASKS);
    let mut seen = Vec::new();
    let supervisors = recorders.iter().zip(&cores).zip(tasks).map(|((recorder, core), tasks)| {
        let info = core.snapshot(tasks.running_total + tasks.waiting_total);
        let workers = info.mp_pool.iter().flat_map(|pool| &pool.workers);
        let processes = workers.map(|worker| process(shared, worker, &mut seen)).collect();
        SupervisorState {
            key: recorder.key(),
            info,
            running: tasks.running,
            waiting: tasks.waiting,
            running_total: tasks.running_total,
            waiting_total: tasks.waiting_total,
            failures: recorder.failures().into_iter().map(Shown).collect(),
            processes,
            background: background_of(core),
        }
    });
    let state = State { supervisors: supervisors.collect(), clusters: clusters::of(&cores) };
    // Processes that have ended are forgotten.
    shared.collector.lock().cpu.retain(|process, _| seen.contains(process));
    serde_json::to_vec(&state).expect("all keys are texts")
}

fn process(shared: &Shared, info: &WorkerProcessInfo, seen: &mut Vec<(u32, u64)>) -> Process {
    let usage = usage::of(info.pid);
    let at = Instant::now();
    let key = (info.pid, info.number);
    seen.push(key);
    let cpu_percent = usage.as_ref().and_then(|usage| {
        let mut collector = shared.collector.lock();
        match collector.cpu.get_mut(&key) {
            Some(sample) => sample.next(at, usage.cpu),
            None => {
                collector.cpu.insert(key, CpuSample { at, used: usage.cpu, before: None });
                None
            }
        }
    });
    Process { info: info.clone(), rss_bytes: usage.map(|usage| usage.resident), cpu_percent }
}

/// Returns what is shown of the background workers and jobs.
fn background_of(core: &Core) -> Vec<Background> {
    let workers = core.known_workers();
    let shown = workers.iter().filter_map(background).collect();
    // The last reference to a function of the user may be among them.
    discard(workers);
    shown
}

/// Returns what is shown of a worker. Jobs are shown until they have ended.
fn background(worker: &Arc<dyn ActiveWorker>) -> Option<Background> {
    let operations = worker.operations();
    let (kind, info) = match worker.snapshot() {
        WorkerSnapshot::Worker(info) => (info.kind, BackgroundInfo::Worker(UnkindedWorker(info))),
        WorkerSnapshot::Job(info) if operations.is_empty() && !info.running => return None,
        WorkerSnapshot::Job(info) => (WorkerKind::Job, BackgroundInfo::Job(info)),
    };
    let can = operations.into_iter().map(word).collect();
    Some(Background { key: worker.key(), kind, can, info })
}

/// Returns the word for an operation, as in paths.
pub(super) fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Start => "start",
        Operation::Stop => "stop",
        Operation::Trigger => "trigger",
    }
}

#[derive(Serialize)]
struct OneTask {
    #[serde(flatten)]
    info: TaskInfo,
    /// Seconds since the launch.
    age: f64,
}

/// Returns a task that has not ended.
pub(super) fn task(shared: &Shared, id: TaskId) -> Option<Vec<u8>> {
    let task = shared.cores().iter().find_map(|core| core.find_live(id))?;
    crate::task::header::refresh(&*task);
    let info = task.header().info();
    if info.outcome.is_some() {
        return None;
    }
    let age = clock::now().saturating_sub(task.header().queued()) as f64 / 1e9;
    Some(serde_json::to_vec(&OneTask { info, age }).expect("all keys are texts"))
}

/// Returns the points of the last seconds, at most `len`, as JSON.
pub(super) fn history(shared: &Shared, len: usize) -> Vec<u8> {
    #[derive(Serialize)]
    struct History {
        #[serde(serialize_with = "crate::info_serde::time")]
        start: std::time::SystemTime,
        /// Seconds between two points.
        step: u32,
        supervisors: Vec<Supervisor>,
    }
    #[derive(Serialize)]
    struct Supervisor {
        key: u64,
        id: String,
        places: super::history::Places,
    }
    let now = shared.seconds.now();
    let len = (now + 1).min(len as u64);
    let supervisors = shared.recorders().into_iter().filter_map(|recorder| {
        let places = recorder.points(now, len)?;
        Some(Supervisor { key: recorder.key(), id: recorder.id().to_owned(), places })
    });
    let start = clock::system_time(shared.seconds.begin(now + 1 - len));
    let history = History { start, step: 1, supervisors: supervisors.collect() };
    serde_json::to_vec(&history).expect("all keys are texts")
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn cpu_use_refers_to_a_reading_that_is_old_enough() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let used = Duration::from_millis;
        let mut sample = CpuSample { at: start, used: used(100), before: None };
        assert_eq!(sample.next(at(1000), used(600)), Some(50.0));
        // 10 ms later, after one tick: since the start.
        assert_eq!(sample.next(at(1010), used(610)), Some(50.5));
        assert_eq!(sample.next(at(2000), used(1600)), Some(100.0));
        // The CPU time of another process can't be less, and this is no reason to fail.
        assert_eq!(sample.next(at(3000), used(0)), Some(0.0));
    }
}
