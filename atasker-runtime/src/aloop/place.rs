//! The aloops of one supervisor, as a place.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Aloop, Inner};
use crate::clock;
use crate::error::{KillError, TaskError, with_advice};
use crate::info::{AloopInfo, TaskType};
use crate::job::{Job, Place, WhenFull};
use crate::supervisor::Core;
use crate::task::AnyTask;
use crate::timer;

/// The name of the aloop that tasks run on when nothing is said.
const DEFAULT: &str = "default";

/// See the module's documentation.
pub(crate) struct Aloops {
    supervisor_id: String,
    supervisor: Weak<Core>,
    loops: Mutex<Loops>,
}

#[derive(Default)]
struct Loops {
    by_name: BTreeMap<String, Arc<Inner>>,
    default: Option<String>,
    /// The loop that the default one is, while it stands in `by_name`: most tasks go there.
    found_default: Option<Arc<Inner>>,
}

impl Aloops {
    pub(crate) fn new(supervisor_id: &str, supervisor: Weak<Core>) -> Self {
        Aloops {
            supervisor_id: supervisor_id.to_owned(),
            supervisor,
            loops: Mutex::new(Loops::default()),
        }
    }

    /// The loop of that name, started if there is none.
    pub(crate) fn create(&self, name: &str, threads: usize) -> std::io::Result<Aloop> {
        let mut loops = self.loops.lock();
        if let Some(found) = loops.by_name.get(name) {
            return Ok(Aloop::new(Arc::clone(found)));
        }
        let inner =
            Inner::start(self.supervisor.clone(), &self.supervisor_id, name, threads.max(1))?;
        loops.by_name.insert(name.to_owned(), Arc::clone(&inner));
        Ok(Aloop::new(inner))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Aloop> {
        self.loops.lock().by_name.get(name).map(|inner| Aloop::new(Arc::clone(inner)))
    }

    /// Tasks for no loop in particular, or for an unknown one, go to this one.
    pub(crate) fn set_default(&self, name: &str) {
        let mut loops = self.loops.lock();
        loops.default = Some(name.to_owned());
        loops.found_default = None;
    }

    pub(crate) fn info(&self) -> Vec<AloopInfo> {
        self.loops.lock().by_name.values().map(|inner| inner.info()).collect()
    }

    /// Stops the loops as soon as these tasks have ended: they asked for the stop, and one of them
    /// may run on a loop.
    pub(crate) fn close_after(&self, own: &[Arc<dyn AnyTask>]) {
        let loops = {
            let mut loops = self.loops.lock();
            loops.found_default = None;
            std::mem::take(&mut loops.by_name)
        };
        let own: Vec<_> =
            own.iter().filter(|task| task.header().tt == TaskType::Async).cloned().collect();
        for inner in loops.into_values() {
            if own.is_empty() {
                inner.stop();
            } else {
                inner.stop_after(own.clone());
            }
        }
    }

    /// The loop of that name, or the default one; started if there is none.
    fn for_task(&self, wanted: Option<&str>) -> std::io::Result<Arc<Inner>> {
        let Some(name) = wanted else { return self.default_loop() };
        if let Some(found) = self.loops.lock().by_name.get(name) {
            return Ok(Arc::clone(found));
        }
        self.create(name, 1).map(|found| found.inner)
    }

    fn default_loop(&self) -> std::io::Result<Arc<Inner>> {
        let name = {
            let loops = self.loops.lock();
            if let Some(found) = &loops.found_default {
                return Ok(Arc::clone(found));
            }
            loops.default.clone().unwrap_or_else(|| DEFAULT.to_owned())
        };
        let inner = self.create(&name, 1)?.inner;
        let mut loops = self.loops.lock();
        // Unless another was chosen meanwhile, or all were closed.
        if loops.default.as_deref().unwrap_or(DEFAULT) == name
            && loops.by_name.get(&name).is_some_and(|found| Arc::ptr_eq(found, &inner))
        {
            loops.found_default = Some(Arc::clone(&inner));
        }
        Ok(inner)
    }
}

impl Place for Aloops {
    fn start(&self, job: Job, _when_full: WhenFull) {
        let wanted = job.header().extras().and_then(|extras| extras.aloop.clone());
        let inner = match self.for_task(wanted.as_deref()) {
            Ok(inner) => inner,
            Err(error) => {
                let why = with_advice(&error);
                return job
                    .end(TaskError::not_started(format!("no aloop could be started: {why}")));
            }
        };
        if inner.is_stopped() {
            return job.end(TaskError::SupervisorStopped);
        }
        let task = job.into_task();
        // One that was not delayed begins the moment that it is launched.
        let header = task.header();
        let begun = match header.extras() {
            None => header.begin_at(header.queued()),
            Some(_) => header.begin(),
        };
        if !begun {
            return;
        }
        if let Some(limit) = task.header().timeout() {
            let attempt = task.header().attempt();
            let weak = Arc::downgrade(&task);
            let key = timer::at(clock::after(limit), move || {
                let task = weak.upgrade().filter(|task| task.header().attempt() == attempt);
                if let Some(task) = task {
                    task.overrun(&task);
                }
            });
            *task.header().extras_or_new().limit_timer.lock() = Some(key);
        }
        task.spawn(&task, &inner.queue);
    }

    fn revoke(&self, _task: &dyn AnyTask, _even_with_slot: bool) -> bool {
        // A task starts at once: none waits here.
        false
    }

    fn kill(&self, task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        // Not asked to stop first: it would go on and might return before it is dropped.
        task.header().state.ask_kill();
        task.abort(task);
        Ok(())
    }

    fn open(&self) {}

    fn close(&self) {
        self.close_after(&[]);
    }
}
