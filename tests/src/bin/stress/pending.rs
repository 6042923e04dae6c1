//! A task in flight: its kind, the operations applied to it, and a check of its outcome.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use atasker::{Supervisor, SupervisorInfo, Task, TaskBuilder, TaskError, TaskStatus, TaskType};

use crate::FAR;
use crate::options::Tasks;
use crate::report::{Counts, Report};
use atasker_tests::random::Random;

/// The state shared by all threads of the program.
pub struct Scene {
    sup: Supervisor,
    pub tasks: Tasks,
    counts: Mutex<Counts>,
    problems: Mutex<Vec<String>>,
    /// Worker processes that were killed externally.
    killed: Mutex<HashSet<u32>>,
    /// The task that was blamed for each death of a worker process, and when.
    blamed: Mutex<BTreeMap<u32, (SystemTime, String)>>,
    resized: AtomicU64,
}

impl Scene {
    pub fn new(sup: Supervisor, tasks: Tasks) -> Self {
        Scene {
            sup,
            tasks,
            counts: Mutex::default(),
            problems: Mutex::default(),
            killed: Mutex::default(),
            blamed: Mutex::default(),
            resized: AtomicU64::new(0),
        }
    }

    pub fn supervisor(&self) -> &Supervisor {
        &self.sup
    }

    pub fn resized(&self) {
        self.resized.fetch_add(1, Ordering::Relaxed);
    }

    pub fn kill_worker(&self, pid: u32) {
        // Recorded before the death can be observed.
        self.killed.lock().unwrap().insert(pid);
        // SAFETY: sends a signal to a process.
        unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
    }

    fn was_killed(&self, pid: u32) -> bool {
        self.killed.lock().unwrap().contains(&pid)
    }

    pub fn problem(&self, what: String) {
        self.problems.lock().unwrap().push(what);
    }

    pub fn count(&self, kind: &'static str, outcome: &'static str) {
        *self.counts.lock().unwrap().entry((kind, outcome)).or_default() += 1;
    }

    /// Asserts that no task runs or is queued after all outcomes were checked.
    pub fn check_idle(&self, info: &SupervisorInfo) {
        let pool = info.mp_pool.as_ref().expect("the pool exists");
        if info.tasks != 0 || pool.waiting.total() + info.thread_pool.waiting.total() != 0 {
            self.problem(format!("all tasks have ended, but the pool is not idle: {info:?}"));
        }
    }

    pub fn report(&self, info: &SupervisorInfo, took: Duration) -> Report {
        Report {
            counts: self.counts.lock().unwrap().clone(),
            problems: self.problems.lock().unwrap().clone(),
            killed: self.killed.lock().unwrap().len(),
            resized: self.resized.load(Ordering::Relaxed),
            restarts: info.mp_pool.as_ref().map_or(0, |pool| pool.restarts),
            took,
        }
    }
}

/// How a task ends if no operation is applied to it.
pub enum Natural<R> {
    /// With a result that satisfies this predicate.
    Result(Box<dyn FnOnce(&R) -> bool + Send>),
    Panic,
    /// Its worker process ends, with this cause.
    Death(&'static str),
    /// Its time limit expires.
    Limit,
}

/// A task and what is known about it.
pub struct Pending<R, I, O> {
    kind: &'static str,
    task: Task<R, I, O>,
    natural: Natural<R>,
    /// How often its end was reported.
    ended: Arc<AtomicU32>,
    stopped: bool,
    canceled: Option<bool>,
    killed: bool,
}

/// The same without the types.
pub trait AnyPending: Send {
    /// Applies an operation to the task, or none.
    fn meddle(&mut self, random: &mut Random);
    /// Waits for the task and checks its outcome.
    fn settle(self: Box<Self>, scene: &Scene);
}

/// Starts a task.
pub fn start<R, I, O>(
    scene: &Scene,
    kind: &'static str,
    builder: TaskBuilder<R, I, O>,
    natural: Natural<R>,
) -> Pending<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    let ended = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&ended);
    let builder = builder.on_complete(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let task = builder.supervisor(scene.supervisor()).start();
    Pending { kind, task, natural, ended, stopped: false, canceled: None, killed: false }
}

impl<R, I, O> Pending<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    pub fn task(&self) -> &Task<R, I, O> {
        &self.task
    }

    pub fn stop(&mut self) {
        self.stopped = true;
        self.task.stop();
    }
}

impl<R, I, O> AnyPending for Pending<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    fn meddle(&mut self, random: &mut Random) {
        match random.below(3) {
            0 => self.stop(),
            1 => {
                let canceled = self.task.cancel();
                self.stopped = true;
                self.canceled = Some(self.canceled == Some(true) || canceled);
            }
            _ => self.killed |= self.task.kill().is_ok(),
        }
    }

    fn settle(self: Box<Self>, scene: &Scene) {
        let Pending { kind, task, natural, ended, stopped, canceled, killed } = *self;
        if task.wait_timeout(FAR).is_err() && !task.is_completed() {
            let info = task.info();
            eprintln!("{}", atasker_tests::processes::threads());
            eprintln!("{:?}", scene.supervisor().info());
            eprintln!("{kind} has not ended in {FAR:?}: {info:?}");
            std::process::abort();
        }
        let (info, tt) = (task.info(), task.tt());
        let result = task.join();
        let unfit = |why: &str| {
            let done = format!("stopped {stopped}, canceled {canceled:?}, killed {killed}");
            scene.problem(format!("{kind}: {why}; {done}; {info:?}"));
        };
        if ended.load(Ordering::Relaxed) != 1 {
            unfit("its end was not reported exactly once");
        }
        let (queued, started) = (info.time_queued, info.time_started);
        let completed = info.time_completed.unwrap_or(queued);
        if completed < queued || started.is_some_and(|at| at < queued || completed < at) {
            unfit("its times are out of order");
        }
        let is_canceled = matches!(result, Err(TaskError::Canceled));
        if is_canceled != (info.status == TaskStatus::Canceled) {
            unfit("its status does not match its outcome");
        }
        if canceled == Some(true) && !is_canceled {
            unfit("it was canceled before it ran, and has another outcome");
        }
        let outcome = match (&result, natural) {
            (Ok(value), Natural::Result(fits)) => {
                if !fits(value) {
                    unfit("its result belongs to another task");
                }
                "ok"
            }
            (Ok(_), _) => {
                // A task that would spin until its time limit ends early on a stop request.
                if !stopped && !killed {
                    unfit("it has a result and should have an error");
                }
                "ok"
            }
            (Err(TaskError::Canceled), _) => {
                if !stopped && !killed {
                    unfit("it was not canceled");
                }
                "canceled"
            }
            (Err(TaskError::Panicked { message, .. }), natural) => {
                if !matches!(natural, Natural::Panic) || message != "meant" {
                    unfit("it panicked");
                }
                "panicked"
            }
            (Err(TaskError::TimedOut { .. }), natural) => {
                if !matches!(natural, Natural::Limit) {
                    unfit("it has no time limit");
                }
                "timed out"
            }
            (Err(TaskError::WorkerDied(death)), natural) => {
                let cause = death.cause().to_string();
                let own = matches!(natural, Natural::Death(means) if means == cause);
                let outside = cause == "SIGKILL (9)" && scene.was_killed(death.pid());
                if tt != TaskType::Mp || !own && !outside {
                    unfit(&format!("its worker {death}"));
                }
                let this = format!("{kind} {}", info.id);
                // The system reuses process ids, but not immediately.
                const FOR_SURE: Duration = Duration::from_secs(1);
                let other = scene.blamed.lock().unwrap().insert(death.pid(), (completed, this));
                if let Some((at, other)) = other
                    && at.max(completed).duration_since(at.min(completed)).unwrap() < FOR_SURE
                {
                    unfit(&format!("worker process {} has cost {other}, too", death.pid()));
                }
                if own { "worker died" } else { "worker killed" }
            }
            (Err(TaskError::NotStarted { detail, .. }), _) => {
                // All consecutive starts were killed.
                if tt != TaskType::Mp || !detail.contains("SIGKILL (9)") {
                    unfit(detail);
                }
                "not started"
            }
            (Err(error), _) => {
                unfit(&error.to_string());
                "other error"
            }
        };
        scene.count(kind, outcome);
    }
}
