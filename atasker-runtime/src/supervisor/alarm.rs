//! Alarms for tasks that wait too long: `on_queued_for`.
//!
//! Each alarm has a list of tasks in the order in which they were queued. All of them have the same
//! time to wait, so the first one is always due next, and a single timer entry per alarm suffices.
//! The list contains ids instead of tasks: see `pruning`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::sync::lock::{Mutex, RwLock};

use super::core::Core;
use super::pruning::{LookedUp, Pruning};
use crate::id::{SchedulerKey, TaskId};
use crate::info::TaskInfo;
use crate::task::TaskArc;
use crate::task::header::refresh;
use crate::task::state::Phase;
use crate::time::source;
use crate::unwind::Guarded;

type Action = Arc<Guarded<Box<dyn Fn(&TaskInfo) + Send + Sync>>>;

pub(crate) struct Alarms {
    core: Weak<Core>,
    /// The supervisor, whose time counts.
    owner: Option<SchedulerKey>,
    any: AtomicBool,
    list: RwLock<Vec<Arc<Alarm>>>,
}

struct Alarm {
    time: Duration,
    action: Action,
    waiting: Mutex<Waiting>,
}

/// A queued task.
struct Entry {
    due: Instant,
    id: TaskId,
    /// The number of attempts made before. A retry is queued, and waits, anew.
    attempts: u32,
}

impl Entry {
    fn still_waits(&self, task: &TaskArc) -> bool {
        let header = task.header();
        header.state.read().phase() == Phase::Queued && header.attempt() == self.attempts
    }
}

#[derive(Default)]
struct Waiting {
    list: VecDeque<Entry>,
    /// Whether a timer entry exists. The list may be empty when it fires.
    timer_set: bool,
    pruning: Pruning,
}

impl Waiting {
    /// Removes tasks that have begun or ended.
    fn prune(&mut self, core: &Core, looked_up: &mut LookedUp) {
        self.list
            .retain(|entry| looked_up.still_waits(core, entry.id, |task| entry.still_waits(task)));
        let capacity = self.pruning.pruned(self.list.len());
        self.list.shrink_to(capacity);
    }
}

impl Alarms {
    pub(super) fn new(core: Weak<Core>, key: SchedulerKey) -> Self {
        Alarms {
            core,
            owner: Some(key),
            any: AtomicBool::new(false),
            list: RwLock::new(Vec::new()),
        }
    }

    /// Adds an alarm, for tasks queued from now on.
    pub(super) fn add(&self, time: Duration, action: Action) {
        let alarm = Alarm { time, action, waiting: Mutex::default() };
        self.list.write().push(Arc::new(alarm));
        // After the alarm was added: a thread that reads `true` finds it.
        self.any.store(true, Ordering::Release);
    }

    /// Watches a task that is being queued.
    #[inline]
    pub(super) fn watch(&self, task: &TaskArc) {
        if self.any.load(Ordering::Acquire) {
            self.watch_for_each(task);
        }
    }

    #[cold]
    fn watch_for_each(&self, task: &TaskArc) {
        let mut looked_up = LookedUp::default();
        for alarm in self.list.read().iter() {
            let due = source::after(self.owner, alarm.time);
            let mut waiting = alarm.waiting.lock();
            if waiting.pruning.is_due(waiting.list.len())
                && let Some(core) = self.core.upgrade()
            {
                waiting.prune(&core, &mut looked_up);
            }
            let attempts = task.header().attempt();
            waiting.list.push_back(Entry { due, id: task.header().id(), attempts });
            if !std::mem::replace(&mut waiting.timer_set, true) {
                self.set(alarm, due);
            }
        }
    }

    fn set(&self, alarm: &Arc<Alarm>, due: Instant) {
        let (core, alarm) = (self.core.clone(), Arc::clone(alarm));
        source::at(self.owner, due, move || {
            if let Some(core) = core.upgrade() {
                core.alarms.fire(&core, &alarm);
            }
        });
    }

    /// Fires for the tasks that are due, and sets the timer for the next one.
    fn fire(&self, core: &Core, alarm: &Arc<Alarm>) {
        let now = source::now(self.owner);
        let mut looked_up = LookedUp::default();
        let mut waiting = alarm.waiting.lock();
        let mut due = Vec::new();
        waiting.timer_set = false;
        while let Some(entry) = waiting.list.pop_front() {
            if entry.due <= now {
                due.push(entry);
            } else if looked_up.still_waits(core, entry.id, |_| true) {
                waiting.timer_set = true;
                self.set(alarm, entry.due);
                waiting.list.push_front(entry);
                break;
            }
            // Due, or no longer live: such a task needs no timer entry.
        }
        drop(waiting);
        for entry in due {
            let Some(task) = core.find_live(entry.id) else { continue };
            refresh(&*task);
            if entry.still_waits(&task) {
                let (action, info) = (Arc::clone(&alarm.action), task.header().info());
                core.run_on_pool("alarm", Box::new(move || action(&info)));
            }
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use crate::{PoolConfig, Supervisor, TaskBuilder};
    use std::sync::mpsc;

    #[test]
    fn tasks_that_are_over_take_no_room() {
        let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
        sup.on_queued_for(Duration::from_secs(3600), |_| {});
        for _ in 0..100 {
            let tasks: Vec<_> = (0..200).map(|_| sup.spawn(|| ())).collect();
            tasks.into_iter().for_each(|task| task.join().unwrap());
        }
        let alarm = Arc::clone(&sup.core().alarms.list.read()[0]);
        let kept = alarm.waiting.lock().list.len();
        assert!(kept < 5_000, "{kept} of 20,000 are kept");
    }

    #[test]
    fn a_further_attempt_waits_anew() {
        let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
        let (rang, rings) = mpsc::channel();
        sup.on_queued_for(Duration::from_millis(200), move |info| {
            rang.send(info.name.clone()).unwrap();
        });
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (ours, at_gate) = (sup.clone(), Arc::clone(&gate));
        let mut first = true;
        let twice = TaskBuilder::repeatable(move || {
            if std::mem::take(&mut first) {
                // Queued ahead of the second attempt.
                let gate = Arc::clone(&at_gate);
                drop(ours.spawn(move || gate.lock().recv()));
                return true;
            }
            false
        });
        let twice = twice.name("twice").retries(1).retry_if(|again| *again).supervisor(&sup);
        let twice = twice.start();
        while twice.info().attempt == 0 || twice.info().status != crate::TaskStatus::Queued {
            std::thread::yield_now();
        }
        let last = TaskBuilder::new(|| ()).name("last").supervisor(&sup).start();
        // Each alarm fires on a separate thread, so in any order.
        let mut seen = Vec::new();
        while !["twice", "last"].iter().all(|name| seen.iter().any(|seen| seen == name)) {
            seen.push(rings.recv_timeout(Duration::from_secs(60)).expect("both ring"));
        }
        go.send(()).unwrap();
        twice.join().unwrap();
        last.join().unwrap();
        sup.stop(crate::StopOptions::new());
        seen.extend(rings.try_iter());
        assert_eq!(seen.iter().filter(|name| *name == "twice").count(), 1);
    }
}
