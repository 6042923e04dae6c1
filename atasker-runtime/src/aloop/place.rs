//! The aloops of a supervisor, and the implementation of `Place` for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sync::lock::Mutex;
use crate::task::control::{self, Include};

use super::Loop;
use crate::error::{KillError, TaskError, with_advice};
use crate::info::{AloopInfo, TaskType};
use crate::job::Job;
use crate::limit::{self, Admission, Parked};
use crate::place::{Closing, Place, WhenFull};
use crate::task::scheduler::SchedulerKey;
use crate::task::{AnyTask, TaskArc};
use crate::time::clock;

/// The name of the default aloop, unless another one is set.
const DEFAULT: &str = "default";

/// The aloops of a supervisor.
pub(crate) struct Aloops {
    supervisor_id: String,
    scheduler: SchedulerKey,
    loops: Mutex<Loops>,
}

#[derive(Default)]
struct Loops {
    by_name: BTreeMap<String, Arc<Loop>>,
    default: Option<String>,
    /// The default aloop, while it is in `by_name`. Most tasks run there, so this saves a lookup.
    cached_default: Option<Arc<Loop>>,
}

impl Aloops {
    pub(crate) fn new(supervisor_id: &str, scheduler: SchedulerKey) -> Self {
        Aloops {
            supervisor_id: supervisor_id.to_owned(),
            scheduler,
            loops: Mutex::new(Loops::default()),
        }
    }

    /// Returns the aloop with that name. Starts one if there is none, or if it is stopped.
    pub(crate) fn create(&self, name: &str, threads: usize) -> std::io::Result<Arc<Loop>> {
        self.find_or_start(name, threads, |found| !found.is_stopped())
    }

    /// Returns the aloop with that name if `accept` returns true for it, otherwise replaces it by a
    /// new one.
    fn find_or_start(
        &self,
        name: &str,
        threads: usize,
        accept: impl FnOnce(&Loop) -> bool,
    ) -> std::io::Result<Arc<Loop>> {
        let mut loops = self.loops.lock();
        if let Some(found) = loops.by_name.get(name).filter(|found| accept(found)) {
            return Ok(Arc::clone(found));
        }
        let inner = Loop::start(self.scheduler, &self.supervisor_id, name, threads.max(1))?;
        let before = loops.by_name.insert(name.to_owned(), Arc::clone(&inner));
        // The cached default may be the aloop that was replaced.
        let cached_default = loops.cached_default.take();
        drop(loops);
        drop((before, cached_default));
        Ok(inner)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Loop>> {
        let loops = self.loops.lock();
        let found = loops.by_name.get(name).filter(|inner| !inner.is_stopped());
        found.cloned()
    }

    /// Sets the aloop for tasks that don't name one.
    pub(crate) fn set_default(&self, name: &str) {
        let mut loops = self.loops.lock();
        loops.default = Some(name.to_owned());
        loops.cached_default = None;
    }

    /// Returns the number of tasks that run on the aloops.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn running(&self) -> Option<usize> {
        let loops: Vec<_> = self.loops.lock().by_name.values().cloned().collect();
        Some(loops.iter().map(|inner| inner.queue().live() as usize).sum())
    }

    pub(crate) fn info(&self) -> Vec<AloopInfo> {
        let loops: Vec<_> = self.loops.lock().by_name.values().cloned().collect();
        loops.iter().filter(|inner| !inner.is_stopped()).map(|inner| inner.info()).collect()
    }

    /// Returns the aloop with that name or the default one. Starts it if there is none. An aloop
    /// that was stopped stays stopped until it is created again.
    fn for_task(&self, wanted: Option<&str>) -> std::io::Result<Arc<Loop>> {
        let Some(name) = wanted else { return self.default_loop() };
        if let Some(found) = self.loops.lock().by_name.get(name) {
            return Ok(Arc::clone(found));
        }
        self.find_or_start(name, 1, |_| true)
    }

    fn default_loop(&self) -> std::io::Result<Arc<Loop>> {
        let name = {
            let loops = self.loops.lock();
            if let Some(found) = &loops.cached_default {
                return Ok(Arc::clone(found));
            }
            loops.default.clone().unwrap_or_else(|| DEFAULT.to_owned())
        };
        let inner = self.find_or_start(&name, 1, |_| true)?;
        let mut loops = self.loops.lock();
        // Unless another default was set meanwhile, or all aloops were closed.
        if loops.default.as_deref().unwrap_or(DEFAULT) == name
            && loops.by_name.get(&name).is_some_and(|found| Arc::ptr_eq(found, &inner))
        {
            loops.cached_default = Some(Arc::clone(&inner));
        }
        Ok(inner)
    }
}

/// The error of a task, or of a caller, who asked for a loop that could not be started.
pub(crate) fn not_started(error: &std::io::Error) -> TaskError {
    TaskError::not_started(format!("failed to start an aloop: {}", with_advice(error)))
}

impl Place for Aloops {
    fn start(&self, job: Job, _when_full: WhenFull) {
        let wanted = job.header().extras().and_then(|extras| extras.aloop.clone());
        let inner = match self.for_task(wanted.as_deref()) {
            Ok(inner) => inner,
            Err(error) => return job.end(not_started(&error)),
        };
        if inner.is_stopped() {
            crate::unwind::log!(warn, task = %job.header().id(), name = job.header().name(),
                aloop = inner.name(), supervisor = self.supervisor_id,
                "a task was launched on a stopped aloop: `create_aloop` starts a new one"
            );
            return job.end(TaskError::SupervisorStopped);
        }
        let header = job.header();
        // A task without a delay begins when it is launched, so its queue time is also its start
        // time.
        let when = match header.extras() {
            None => header.queued(),
            Some(_) => clock::now(),
        };
        let Some(run) = job.begin(when) else { return };
        // A future that exceeds its limit is dropped at its next await and occupies no slot, so
        // there is nothing to record.
        run.arm_limit(|| None);
        run.spawn(inner.queue());
    }

    fn enqueue_parked(&self, parked: Parked) {
        let mut candidate = Some(parked);
        // There is a slot for every task.
        while let Some(Parked { job, reserved }) = candidate.take() {
            let Admission { job, next } = limit::admit(job, reserved);
            if let Some(job) = job {
                self.start(job, WhenFull::Pass);
            }
            candidate = next;
        }
    }

    fn revoke(&self, _task: &dyn AnyTask, _include: Include) -> bool {
        // Tasks start at once, so none is queued here.
        false
    }

    fn kill(&self, task: &TaskArc) -> Result<(), KillError> {
        // Without a request to stop, on which the task might return before it is dropped.
        task.header().state.set_kill_requested();
        control::abort(task);
        Ok(())
    }

    fn close(&self, closing: &Closing<'_>) {
        let loops = {
            let mut loops = self.loops.lock();
            loops.cached_default = None;
            std::mem::take(&mut loops.by_name)
        };
        // These may run on an aloop, which stops after they have ended.
        let callers = closing.callers.iter().filter(|task| task.header().tt == TaskType::Async);
        let callers: Vec<_> = callers.cloned().collect();
        for inner in loops.into_values() {
            if callers.is_empty() {
                inner.stop();
            } else {
                inner.stop_after(callers.clone());
            }
        }
    }
}
