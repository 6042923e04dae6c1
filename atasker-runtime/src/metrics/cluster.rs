//! The gauges of the cluster that a supervisor has joined, and what is counted of its remote tasks.
//!
//! The exporter never waits for a broker: it takes what was last heard of the cluster, and has the
//! cluster asked for more. While the broker is away, the gauges keep their values.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::catalog::{self, OTHER};
use super::gauges::{Refresh, Slot};
use super::series::{Handle, Pass};
use crate::observe::observer::TaskEvent;
use crate::priority::Priority;
use crate::supervisor::Core;
use crate::task::elsewhere::Elsewhere;

use ::metrics::{Counter, SharedString};

/// How often a cluster is asked of which nothing changes.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// How old an answer may be while something changes.
const FRESH: Duration = Duration::from_secs(1);
/// The number of queues that have series of their own.
const MOST_QUEUES: usize = 250;

/// What has happened to the remote tasks of a supervisor.
pub(super) struct Facts {
    /// Identifies the export, of which a supervisor may have several, one after the other.
    export: u64,
    /// Remote tasks that run.
    running: AtomicUsize,
    /// Runs that were lost, and are not written yet.
    lost: AtomicU64,
}

impl Facts {
    pub(super) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let export = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Facts { export, running: AtomicUsize::new(0), lost: AtomicU64::new(0) }
    }

    /// A run of a task has begun.
    pub(super) fn begun(&self, task: &TaskEvent<'_>) {
        let Some(task) = task.elsewhere() else { return };
        let before = std::mem::replace(&mut task.seen.lock().counted_by, self.export);
        if before != self.export {
            self.running.fetch_add(1, Ordering::Relaxed);
        }
        self.count_losses(task);
    }

    /// A run of a task is over.
    pub(super) fn over(&self, task: &TaskEvent<'_>) {
        let Some(task) = task.elsewhere() else { return };
        let before = std::mem::take(&mut task.seen.lock().counted_by);
        // Otherwise it had begun before the export.
        if before == self.export {
            self.running.fetch_sub(1, Ordering::Relaxed);
        }
        self.count_losses(task);
    }

    fn count_losses(&self, task: &Elsewhere) {
        let new = {
            let seen = &mut *task.seen.lock();
            let counted = std::mem::replace(&mut seen.counted_losses, seen.losses);
            seen.losses.saturating_sub(counted)
        };
        // The losses of a call that is found again are those of the program that has launched it.
        if !task.is_attached {
            self.lost.fetch_add(new.into(), Ordering::Relaxed);
        }
    }

    /// Returns the number of remote tasks that run. `None` if there never was any, and no cluster.
    pub(super) fn running(&self, sample: &Sample) -> Option<usize> {
        let running = self.running.load(Ordering::Relaxed);
        (sample.is_joined || running > 0).then_some(running)
    }

    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// What is known of the cluster.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Sample {
    pub(super) is_joined: bool,
    /// More may be known in a moment.
    pub(super) is_under_way: bool,
    /// Waiting calls, by queue and priority.
    waiting: BTreeMap<(String, Priority), usize>,
    nodes: Option<usize>,
    dead: Option<usize>,
}

impl Sample {
    /// Returns what is known of the cluster that a supervisor has joined.
    pub(super) fn of(core: &Core) -> Sample {
        let Some(cluster) = core.remote.joined() else { return Sample::default() };
        let known = cluster.latest_overview(FRESH);
        let mut sample =
            Sample { is_joined: true, is_under_way: known.under_way, ..Sample::default() };
        let Some(overview) = known.answer else { return sample };
        sample.nodes = Some(overview.nodes.len());
        sample.dead = Some(number(overview.dead));
        for (at, counts) in overview.queues.iter().enumerate() {
            let queue = if at < MOST_QUEUES { &*counts.queue } else { OTHER };
            let priorities = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];
            for (priority, waiting) in priorities.into_iter().zip(counts.waiting) {
                *sample.waiting.entry((queue.to_owned(), priority)).or_default() += number(waiting);
            }
        }
        sample
    }
}

fn number(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The handles of the series of clusters, and the values that were written.
#[derive(Default)]
pub(super) struct Series {
    waiting: BTreeMap<(String, Priority), Slot>,
    nodes: Slot,
    dead: Slot,
    lost: Handle<Counter>,
}

impl Series {
    /// Counts lost runs. The series exists from the first sample of a cluster on, so that the first
    /// loss is an increase.
    pub(super) fn count(&mut self, pass: &mut Pass<'_>, lost: u64, sample: Option<&Sample>) {
        let begins = self.lost.is_none() && sample.is_some_and(|sample| sample.is_joined);
        if lost > 0 || begins {
            pass.add(&mut self.lost, lost, catalog::CLUSTER_LOST, || []);
        }
    }

    /// Writes all values if any has changed, or if they are to be refreshed. What is no longer known
    /// is 0. Returns whether any has changed.
    pub(super) fn write(&mut self, pass: &mut Pass<'_>, sample: &Sample, refresh: Refresh) -> bool {
        for key in sample.waiting.keys() {
            if !self.waiting.contains_key(key) {
                self.waiting.insert(key.clone(), Slot::default());
            }
        }
        let next = |slot: &Slot, value: Option<usize>| value.or(slot.written.map(|_| 0));
        let waiting = self.waiting.iter_mut().map(|(key, slot)| {
            let value = next(slot, sample.waiting.get(key).copied());
            (Some(key), catalog::CLUSTER_WAITING, slot, value)
        });
        let nodes = next(&self.nodes, sample.nodes);
        let dead = next(&self.dead, sample.dead);
        let all = waiting.chain([
            (None, catalog::CLUSTER_NODES, &mut self.nodes, nodes),
            (None, catalog::CLUSTER_DEAD, &mut self.dead, dead),
        ]);
        let all: Vec<_> = all.collect();
        let changed = all.iter().any(|(_, _, slot, value)| *value != slot.written);
        if changed || refresh == Refresh::Always {
            for (key, name, slot, value) in all {
                slot.written = value;
                let Some(value) = value else { continue };
                let labels = key.into_iter().flat_map(|(queue, priority)| {
                    let queue = SharedString::from_owned(queue.clone());
                    [("queue", queue), ("priority", SharedString::const_str(priority.as_str()))]
                });
                pass.set_labeled(&mut slot.handle, name, labels, value as f64);
            }
        }
        changed
    }
}
