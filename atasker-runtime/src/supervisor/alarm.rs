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
    waiting: Mutex<Waiting>,
}

/// A task that was queued.
struct Entry {
    due: Instant,
    id: TaskId,
    /// Attempts before that: a further one is queued, and waits, anew.
    attempts: u32,
}

impl Entry {
    fn still_waits(&self, task: &Arc<dyn AnyTask>) -> bool {
        let header = task.header();
        header.state.read().phase() == Phase::Queued && header.attempt() == self.attempts
    }
}

#[derive(Default)]
struct Waiting {
    list: VecDeque<Entry>,
    /// The timer will ring; the list may be empty by then.
    timer_set: bool,
    /// The length at which those that wait no longer are looked for.
    tidy_at: usize,
}

impl Waiting {
    /// Takes out those that have begun or ended. Done each time the list has doubled, so that a task
    /// costs O(1), and a long time costs no memory for all tasks that were ever launched in it.
    fn tidy(&mut self, core: &Core) {
        const LEAST: usize = 1024;
        if self.list.len() >= LEAST {
            self.list
                .retain(|entry| core.booked(entry.id).is_some_and(|task| entry.still_waits(&task)));
        }
        self.tidy_at = LEAST.max(self.list.len() * 2);
        self.list.shrink_to(self.tidy_at);
    }
}

impl Alarms {
    pub(super) fn new(core: Weak<Core>) -> Self {
        Alarms { core, any: AtomicBool::new(false), list: RwLock::new(Vec::new()) }
    }

    /// Tasks queued from now on are watched.
    pub(super) fn add(&self, time: Duration, action: Action) {
        let alarm = Alarm { time, action, waiting: Mutex::default() };
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
            if waiting.list.len() >= waiting.tidy_at
                && let Some(core) = self.core.upgrade()
            {
                waiting.tidy(&core);
            }
            let attempts = task.header().attempt();
            waiting.list.push_back(Entry { due, id: task.header().id, attempts });
            if !std::mem::replace(&mut waiting.timer_set, true) {
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
        waiting.timer_set = false;
        while let Some(entry) = waiting.list.pop_front() {
            if entry.due <= now {
                due.push(entry);
            } else if core.booked(entry.id).is_some() {
                waiting.timer_set = true;
                self.set(alarm, entry.due);
                waiting.list.push_front(entry);
                break;
            }
            // Due, or no longer live: such a task needs no turn of its own.
        }
        drop(waiting);
        for entry in due {
            let Some(task) = core.find(entry.id) else { continue };
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
                // Stands in front of the second attempt.
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
        // Each rings on a thread of its own, so in any order.
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
