//! What a dashboard shows of supervisors: a bounded selection of their tasks, and the numbers of
//! all.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::core::Core;
use crate::fork;
use crate::info::{TaskInfo, TaskStatus, TaskType};
use crate::task::header::{Header, refresh};
use crate::task::{TaskArc, table};

/// The live tasks of one supervisor.
pub(crate) struct Tasks {
    /// Those that run longest, the longest first.
    pub(crate) running: Vec<TaskInfo>,
    /// Those that start next, by priority, then in the order of their launch.
    pub(crate) waiting: Vec<TaskInfo>,
    pub(crate) running_total: usize,
    pub(crate) waiting_total: usize,
}

/// The numbers of a place at one moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct PlaceGauges {
    /// Tasks that wait for a slot, from low to critical.
    pub(crate) waiting: [u32; 4],
    pub(crate) running: u32,
    /// The slots with the reserves. `None` if there is no limit.
    pub(crate) slots: Option<u32>,
}

impl Core {
    /// Returns the gauges of the places, in the order of [`TaskType`].
    pub(crate) fn gauges(&self) -> [PlaceGauges; 4] {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let slots = |size: usize, normal: usize, high: usize| {
            (size > 0).then(|| number(size.saturating_add(normal).saturating_add(high)))
        };
        let waiting =
            |of: &crate::info::Waiting| [of.low, of.normal, of.high, of.critical].map(number);
        let mut gauges = [PlaceGauges::default(); 4];
        let pool = self.threads.info();
        gauges[TaskType::Thread as usize] = PlaceGauges {
            waiting: waiting(&pool.waiting),
            running: number(pool.running + pool.running_critical),
            slots: slots(pool.pool_size, pool.reserve_normal, pool.reserve_high),
        };
        // Without the feature `mp`, this is an `Option` already.
        #[allow(clippy::useless_conversion)]
        let pool: Option<crate::info::MpPoolInfo> = self.processes.info().into();
        if let Some(pool) = pool {
            gauges[TaskType::Mp as usize] = PlaceGauges {
                waiting: waiting(&pool.waiting),
                running: number(pool.running),
                slots: slots(pool.pool_size, pool.reserve_normal, pool.reserve_high),
            };
        }
        gauges[TaskType::Async as usize].running =
            number(self.aloops.info().iter().map(|aloop| aloop.running).sum());
        gauges
    }
}

/// Returns the live tasks of each of `cores`, at most `most` running and waiting ones of each. All
/// are counted in one walk through the task table, which allocates nothing for those that are only
/// counted.
pub(crate) fn tasks(cores: &[Arc<Core>], most: usize) -> Vec<Tasks> {
    let mut selections: Vec<Selection> = cores.iter().map(|_| Selection::new(most)).collect();
    if !fork::is_copy() && cores.iter().any(|core| core.counters.live() > 0) {
        cores.iter().for_each(|core| refresh_begun(core));
        table::for_each(|task| {
            let key = task.header().scheduler;
            if let Some(at) = cores.iter().position(|core| Some(core.key) == key) {
                selections[at].add(task);
            }
        });
    }
    selections.into_iter().map(Selection::finish).collect()
}

/// Tells the tasks that have begun in a worker process, as far as the pool knows.
// Without the feature `mp`, the info of the pool is an `Option` already.
#[allow(clippy::useless_conversion)]
fn refresh_begun(core: &Core) {
    let pool: Option<crate::info::MpPoolInfo> = core.processes.info().into();
    let running = pool.iter().flat_map(|pool| &pool.workers).filter_map(|worker| worker.task);
    for task in running.filter_map(|id| core.lookup(id)) {
        refresh(&*task);
    }
}

struct Selection {
    running: First<(u64, u64)>,
    waiting: First<(Reverse<usize>, u64, u64)>,
    running_total: usize,
    waiting_total: usize,
}

impl Selection {
    fn new(most: usize) -> Self {
        Selection {
            running: First::new(most),
            waiting: First::new(most),
            running_total: 0,
            waiting_total: 0,
        }
    }

    fn add(&mut self, task: TaskArc) {
        let header: &Header = task.header();
        let serial = header.id().serial();
        match header.status() {
            TaskStatus::Started => {
                self.running_total += 1;
                self.running.add((header.started(), serial), task);
            }
            TaskStatus::Queued | TaskStatus::Delayed => {
                self.waiting_total += 1;
                let priority = Reverse(header.priority.index());
                self.waiting.add((priority, header.queued(), serial), task);
            }
            TaskStatus::Completed | TaskStatus::Canceled => {}
        }
    }

    fn finish(self) -> Tasks {
        // A task that has changed its status meanwhile is in the right list next time.
        let running = self.running.infos(|status| status == TaskStatus::Started);
        let waiting =
            self.waiting.infos(|status| matches!(status, TaskStatus::Queued | TaskStatus::Delayed));
        Tasks {
            running,
            waiting,
            running_total: self.running_total,
            waiting_total: self.waiting_total,
        }
    }
}

/// The first tasks by `K`.
struct First<K> {
    heap: BinaryHeap<Entry<K>>,
    most: usize,
}

struct Entry<K>(K, TaskArc);

impl<K: Ord> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Ord> Eq for Entry<K> {}

impl<K: Ord> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K: Ord> First<K> {
    fn new(most: usize) -> Self {
        First { heap: BinaryHeap::new(), most }
    }

    fn add(&mut self, key: K, task: TaskArc) {
        if self.heap.len() < self.most {
            self.heap.push(Entry(key, task));
        } else if let Some(mut last) = self.heap.peek_mut()
            && key < last.0
        {
            *last = Entry(key, task);
        }
    }

    fn infos(self, wanted: impl Fn(TaskStatus) -> bool) -> Vec<TaskInfo> {
        let tasks = self.heap.into_sorted_vec().into_iter().map(|Entry(_, task)| {
            refresh(&*task);
            task.header().info()
        });
        tasks.filter(|info| wanted(info.status)).collect()
    }
}
