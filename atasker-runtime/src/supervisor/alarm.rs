//! Alarms for tasks that wait too long: `on_queued_for`.
//!
//! Per alarm a list of tasks in the order in which they were queued. All wait equally long, so the
//! first is always the next that is due: one entry in the timer per alarm will do. The list holds
//! ids, not tasks: one that has started or ended meanwhile costs a look-up when its turn comes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::core::Core;
use crate::clock;
use crate::id::TaskId;
use crate::info::TaskInfo;
use crate::task::AnyTask;
use crate::task::header::refresh;
use crate::task::state::Phase;
use crate::timer;

type Action = Arc<dyn Fn(&TaskInfo) + Send + Sync>;

pub(crate) struct Alarms {
    core: Weak<Core>,
    any: AtomicBool,
    list: RwLock<Vec<Arc<Alarm>>>,
}

struct Alarm {
    time: Duration,
    action: Action,
    waiting: Mutex<VecDeque<(Instant, TaskId)>>,
}

impl Alarms {
    pub(super) fn new(core: Weak<Core>) -> Self {
        Alarms { core, any: AtomicBool::new(false), list: RwLock::new(Vec::new()) }
    }

    /// Tasks queued from now on are watched.
    pub(super) fn add(&self, time: Duration, action: Action) {
        let alarm = Alarm { time, action, waiting: Mutex::new(VecDeque::new()) };
        self.list.write().push(Arc::new(alarm));
        self.any.store(true, Ordering::Release);
    }

    /// The task is queued now.
    pub(super) fn watch(&self, task: &Arc<dyn AnyTask>) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        for alarm in self.list.read().iter() {
            let due = clock::after(alarm.time);
            let mut waiting = alarm.waiting.lock();
            waiting.push_back((due, task.header().id));
            if waiting.len() == 1 {
                self.set(alarm, due);
            }
        }
    }

    fn set(&self, alarm: &Arc<Alarm>, due: Instant) {
        let (core, alarm) = (self.core.clone(), Arc::clone(alarm));
        timer::at(due, move || {
            if let Some(core) = core.upgrade() {
                core.alarms.ring(&core, &alarm);
            }
        });
    }

    /// Rings for those that are due, and sets the timer for the next.
    fn ring(&self, core: &Core, alarm: &Arc<Alarm>) {
        let now = Instant::now();
        let mut waiting = alarm.waiting.lock();
        let mut due = Vec::new();
        while let Some(&(when, id)) = waiting.front() {
            if when <= now {
                due.push(id);
            } else if core.live.contains_key(&id) {
                self.set(alarm, when);
                break;
            }
            // Due, or no longer live: such a task needs no turn of its own.
            waiting.pop_front();
        }
        drop(waiting);
        for task in due.into_iter().filter_map(|id| core.find(id)) {
            refresh(&*task);
            if task.header().state.read().phase() == Phase::Queued {
                let (action, info) = (Arc::clone(&alarm.action), task.header().info());
                core.run_on_pool("alarm", Box::new(move || action(&info)));
            }
        }
    }
}
