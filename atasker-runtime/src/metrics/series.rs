//! The handles of all series, and writing through them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::metrics::{Counter, Gauge, Histogram, Key, Label, Recorder, SharedString};

use super::catalog::{self, METADATA, RUN_OUTCOMES};
use super::cluster;
use super::gauges::{self, Gauges, Refresh};
use super::pending::{
    AllTaken, PRIORITIES, Pending, Slot, Taken, TaskFacts, Values, WorkerFacts, name_and_place,
};
use crate::observe::outcome::WORDS;
use crate::priority::Priority;
use crate::unwind::{Guarded, attempt, contained};

/// A handle of the recorder, once it is needed. Its drop is guarded.
pub(super) type Handle<T> = Option<Guarded<T>>;

/// The handles of the tasks of one name in one place.
#[derive(Default)]
struct TaskSeries {
    launched: [Handle<Counter>; PRIORITIES],
    completed: [Handle<Counter>; WORDS.len()],
    retries: Handle<Counter>,
    queue: [Handle<Histogram>; PRIORITIES],
    run: [Handle<Histogram>; PRIORITIES],
}

/// The handles of one background worker.
#[derive(Default)]
struct WorkerSeries {
    runs: [Handle<Counter>; RUN_OUTCOMES.len()],
    lateness: Handle<Histogram>,
}

#[derive(Default)]
struct Handles {
    tasks: Vec<Option<Box<TaskSeries>>>,
    workers: Vec<Option<Box<WorkerSeries>>>,
    deaths: BTreeMap<String, Guarded<Counter>>,
    gauges: Gauges,
    cluster: cluster::Series,
}

/// Writes to a recorder, and has a handle for each series there.
pub(super) struct Writer {
    supervisor: SharedString,
    /// The address of the recorder of the handles; 0 before the first one.
    recorder: usize,
    handles: Handles,
}

/// What is written besides the facts about tasks and background workers.
pub(super) struct Rest {
    /// Deaths of worker processes, by cause.
    pub(super) deaths: BTreeMap<String, u64>,
    /// Lost runs of remote tasks.
    pub(super) lost: u64,
    /// The gauges, if they are written.
    pub(super) sample: Option<Sample>,
}

/// A sample of all gauges.
pub(super) struct Sample {
    pub(super) gauges: gauges::Sample,
    pub(super) cluster: cluster::Sample,
    pub(super) refresh: Refresh,
}

/// One pass of a writer.
pub(super) struct Pass<'a> {
    recorder: &'a dyn Recorder,
    supervisor: &'a SharedString,
    panicked: bool,
}

/// What a pass has done.
pub(super) struct Done {
    /// A gauge has changed.
    pub(super) gauges_changed: bool,
    /// The recorder panicked.
    pub(super) panicked: bool,
}

impl Writer {
    pub(super) fn new(supervisor: &Arc<str>) -> Self {
        let supervisor = SharedString::from_shared(Arc::clone(supervisor));
        Writer { supervisor, recorder: 0, handles: Handles::default() }
    }

    /// Drops all handles if the recorder, at this address, is another one than before. Returns
    /// whether it is.
    pub(super) fn follow(&mut self, recorder: usize) -> bool {
        let is_new = self.recorder != recorder;
        if is_new {
            self.recorder = recorder;
            self.drop_handles();
        }
        is_new
    }

    /// Drops all handles.
    pub(super) fn drop_handles(&mut self) {
        self.handles = Handles::default();
    }

    /// Writes facts, and the gauges if there is a sample of them.
    pub(super) fn write(
        &mut self,
        recorder: &dyn Recorder,
        pending: &Pending,
        taken: AllTaken,
        rest: Rest,
    ) -> Done {
        let Rest { deaths, lost, sample } = rest;
        let mut pass = Pass { recorder, supervisor: &self.supervisor, panicked: false };
        let Handles { tasks, workers, deaths: death_series, gauges, cluster } = &mut self.handles;
        for Taken { shard, index, facts } in taken.tasks {
            let series = entry(tasks, index);
            pass.write_task(series, pending, shard, index, facts);
        }
        for Taken { shard, index, facts } in taken.workers {
            let series = entry(workers, index);
            pass.write_worker(series, pending, shard, index, facts);
        }
        for (cause, count) in deaths {
            let labels = || [("cause", SharedString::from_owned(cause.clone()))];
            let mut series = death_series.remove(&cause);
            pass.count(&mut series, count, catalog::DEATHS, labels);
            if let Some(series) = series {
                death_series.insert(cause, series);
            }
        }
        cluster.count(&mut pass, lost, sample.as_ref().map(|sample| &sample.cluster));
        let gauges_changed = sample.is_some_and(|sample| {
            let set = |slot: &mut _, gauge: &_, value| pass.set(slot, gauge, value);
            let own = gauges.write(&sample.gauges, sample.refresh, set);
            cluster.write(&mut pass, &sample.cluster, sample.refresh) || own
        });
        Done { gauges_changed, panicked: pass.panicked }
    }
}

/// Returns the entry with this index, created if necessary.
fn entry<T: Default>(entries: &mut Vec<Option<Box<T>>>, index: usize) -> &mut T {
    if index >= entries.len() {
        entries.resize_with(index + 1, || None);
    }
    entries[index].get_or_insert_default()
}

impl Pass<'_> {
    fn write_task(
        &mut self,
        series: &mut TaskSeries,
        pending: &Pending,
        shard: usize,
        index: usize,
        facts: TaskFacts,
    ) {
        let (name, tt) = name_and_place(index);
        let name = SharedString::from_shared(pending.task_name(name));
        let name = || ("name", name.clone());
        let tt = || ("tt", SharedString::const_str(tt));
        let priority_of =
            |priority: Priority| ("priority", SharedString::const_str(priority.as_str()));
        for priority in Priority::ALL {
            let at = priority.index();
            let labels = || [name(), tt(), priority_of(priority)];
            self.count(&mut series.launched[at], facts.launched[at], catalog::LAUNCHED, labels);
        }
        for (at, outcome) in WORDS.into_iter().enumerate() {
            let labels = || [name(), tt(), ("outcome", SharedString::const_str(outcome))];
            let count = facts.completed[at];
            self.count(&mut series.completed[at], count, catalog::COMPLETED, labels);
        }
        self.count(&mut series.retries, facts.retries, catalog::RETRIES, || [name(), tt()]);
        let TaskFacts { queue, run, .. } = facts;
        for (priority, values) in by_index(queue) {
            let labels = || [name(), tt(), priority_of(priority)];
            let series = &mut series.queue[priority.index()];
            let slot = Slot::Queue(index, priority);
            self.record(series, values, catalog::QUEUE, labels, (pending, shard, slot));
        }
        for (priority, values) in by_index(run) {
            let labels = || [name(), tt(), priority_of(priority)];
            let series = &mut series.run[priority.index()];
            let slot = Slot::Run(index, priority);
            self.record(series, values, catalog::RUN, labels, (pending, shard, slot));
        }
    }

    fn write_worker(
        &mut self,
        series: &mut WorkerSeries,
        pending: &Pending,
        shard: usize,
        index: usize,
        facts: WorkerFacts,
    ) {
        let worker = SharedString::from_shared(pending.worker_name(index));
        let worker = || ("worker", worker.clone());
        for (at, outcome) in RUN_OUTCOMES.into_iter().enumerate() {
            let labels = || [worker(), ("outcome", SharedString::const_str(outcome))];
            self.count(&mut series.runs[at], facts.runs[at], catalog::BACKGROUND_RUNS, labels);
        }
        let slot = (pending, shard, Slot::Lateness(index));
        let labels = || [worker()];
        self.record(&mut series.lateness, facts.lateness, catalog::LATENESS, labels, slot);
    }

    fn count<const N: usize>(
        &mut self,
        series: &mut Handle<Counter>,
        count: u64,
        name: &'static str,
        labels: impl FnOnce() -> [(&'static str, SharedString); N],
    ) {
        if count > 0 {
            self.add(series, count, name, labels);
        }
    }

    /// Counts, also nothing, so that the series exists.
    pub(super) fn add<const N: usize>(
        &mut self,
        series: &mut Handle<Counter>,
        count: u64,
        name: &'static str,
        labels: impl FnOnce() -> [(&'static str, SharedString); N],
    ) {
        if series.is_none() {
            let key = self.key(name, labels());
            *series = attempt(|| self.recorder.register_counter(&key, &METADATA)).map(Guarded::new);
        }
        let Some(series) = series else { return self.panicked = true };
        self.panicked |= !contained(|| series.increment(count));
    }

    /// Records the values, and leaves a handle in the shard if there is none.
    fn record<const N: usize>(
        &mut self,
        series: &mut Handle<Histogram>,
        values: Values,
        name: &'static str,
        labels: impl FnOnce() -> [(&'static str, SharedString); N],
        (pending, shard, slot): (&Pending, usize, Slot),
    ) {
        if values.values.is_empty() {
            return;
        }
        if series.is_none() {
            let key = self.key(name, labels());
            *series =
                attempt(|| self.recorder.register_histogram(&key, &METADATA)).map(Guarded::new);
        }
        let Some(series) = series else { return self.panicked = true };
        self.panicked |= !record_all(series, &values.values);
        if values.needs_handle() {
            pending.leave_handle(shard, &slot, Guarded::new(Histogram::clone(series)));
        }
    }

    fn set(&mut self, series: &mut Handle<Gauge>, gauge: &gauges::Id, value: f64) {
        let labels = gauge.labels().map(|(key, value)| (key, SharedString::const_str(value)));
        self.set_labeled(series, gauge.name, labels, value);
    }

    /// Sets a gauge. `labels` are those besides that of the supervisor.
    pub(super) fn set_labeled(
        &mut self,
        series: &mut Handle<Gauge>,
        name: &'static str,
        labels: impl IntoIterator<Item = (&'static str, SharedString)>,
        value: f64,
    ) {
        if series.is_none() {
            let key = self.key(name, labels);
            *series = attempt(|| self.recorder.register_gauge(&key, &METADATA)).map(Guarded::new);
        }
        let Some(series) = series else { return self.panicked = true };
        self.panicked |= !contained(|| series.set(value));
    }

    fn key(
        &self,
        name: &'static str,
        labels: impl IntoIterator<Item = (&'static str, SharedString)>,
    ) -> Key {
        let own = [("supervisor", self.supervisor.clone())];
        let labels = own.into_iter().chain(labels).map(|(key, value)| Label::new(key, value));
        Key::from_parts(name, labels.collect::<Vec<_>>())
    }
}

/// Returns the entries of a table by priority.
fn by_index<T>(table: [T; PRIORITIES]) -> impl Iterator<Item = (Priority, T)> {
    let priority = |index| Priority::from_index(index as u8).unwrap_or_default();
    table.into_iter().enumerate().map(move |(index, entry)| (priority(index), entry))
}

/// Records values. Returns false if the recorder panicked.
pub(super) fn record_all(series: &Histogram, values: &[f64]) -> bool {
    contained(|| values.iter().for_each(|value| series.record(*value)))
}
