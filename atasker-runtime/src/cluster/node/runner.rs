//! The runner of a node: takes calls from the protocol and makes them tasks of the node's
//! supervisor.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::commands::Commands;
use super::ended::Ends;
use super::run::Run;
use crate::backlog::{Backlog, Limits};
use crate::cluster::door::{FunctionKey, NewRun, RunEnd, RunEvents, RunHandle, Runner};
use crate::error::TaskError;
use crate::info::TaskType;
use crate::launch::raw::{RawCall, RawTask};
use crate::observe;
use crate::observe::load::LoadListener;
use crate::priority::Priority;
use crate::remote::functions::{self, Found, Function};
use crate::supervisor::Supervisor;
use crate::sync::lock::Mutex;
use crate::time::timer;

/// How often the begin and the progress of running calls are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs calls on the threads, or in the worker processes, of a supervisor.
pub(super) struct NodeRunner {
    shared: Arc<Shared>,
    supervisor: Supervisor,
    tt: TaskType,
    /// Dropped with the runner, which the protocol owns while the node serves.
    _ends: Ends,
    /// Kept while the node serves.
    load: OnceLock<Arc<dyn LoadListener>>,
}

/// What the runs of a node share.
pub(super) struct Shared {
    pub(super) commands: Commands,
    state: Mutex<State>,
    is_draining: AtomicBool,
}

struct State {
    /// Counts the calls that hold a slot, or are about to, by the rule of the pool.
    slots: Backlog<()>,
    /// The runs that are not over, by number. Weak, because a run that has a task is kept alive by
    /// it.
    runs: BTreeMap<u64, Weak<Run>>,
    next: u64,
    /// The timer is set to look at the runs.
    looking: bool,
}

impl fmt::Debug for NodeRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRunner").field("tt", &self.tt).finish_non_exhaustive()
    }
}

impl NodeRunner {
    /// `tt` says whether calls run in worker processes or on threads.
    pub(super) fn new(
        supervisor: Supervisor,
        tt: TaskType,
        commands: Commands,
        ends: Ends,
    ) -> Arc<NodeRunner> {
        let slots = Backlog::new(limits(&supervisor, tt));
        let state = State { slots, runs: BTreeMap::new(), next: 0, looking: false };
        let shared = Arc::new(Shared {
            commands,
            state: Mutex::new(state),
            is_draining: AtomicBool::new(false),
        });
        Arc::new(NodeRunner { shared, supervisor, tt, _ends: ends, load: OnceLock::new() })
    }

    /// Returns what counts the runs of the node.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Tells a listener of changes of the pool, for as long as the node serves.
    pub(super) fn listen(&self, listener: Arc<dyn LoadListener>) {
        self.supervisor.core().observers().load.add(Arc::downgrade(&listener));
        let _ = self.load.set(listener);
    }
}

/// Returns the function of this program with this name and signature.
fn find(key: &FunctionKey) -> Option<&'static Function> {
    match functions::remote(&key.name, key.signature) {
        Found::One(function) => Some(function),
        Found::None | Found::Twice(_) => None,
    }
}

/// Returns the limits of the pool in which calls run.
pub(super) fn limits(supervisor: &Supervisor, tt: TaskType) -> Limits {
    supervisor.core().limits(tt).expect("calls run where there are slots")
}

impl Runner for NodeRunner {
    fn room(&self, priority: Priority) -> usize {
        if !self.supervisor.core().accepts() {
            return 0;
        }
        // They may be changed while the node serves.
        let limits = limits(&self.supervisor, self.tt);
        let slots = &mut self.shared.state.lock().slots;
        slots.set_limits(limits);
        slots.free_for(priority)
    }

    fn has(&self, function: &FunctionKey) -> bool {
        find(function).is_some()
    }

    fn run(&self, run: NewRun, events: Arc<dyn RunEvents>) -> Box<dyn RunHandle> {
        let NewRun { head, args, attempt } = run;
        let Some(function) = find(&head.function) else {
            let name = &head.function.name;
            let error = format!("this node does not have the function `{name}`");
            events.ended(RunEnd::Failed(TaskError::not_started(error)), None);
            return Box::new(NoRun);
        };
        let slot = Slot::take(&self.shared, head.priority, Arc::clone(&events));
        // A thread keeps its slot until the function has returned, also if the task has ended before.
        let held = (self.tt == TaskType::Thread).then(|| slot.clone());
        let call = RawCall {
            id: head.id,
            attempt,
            name: head.name.clone(),
            function,
            args,
            priority: head.priority,
            timeout: head.timeout,
            has_channels: head.has_channels,
            trace: head.trace.clone(),
        };
        let task = RawTask::prepare(call, self.tt, &self.supervisor, held);
        let run = self
            .shared
            .insert(|number| Run::new(Arc::clone(&self.shared), number, task, events, slot));
        if observe::is_on() {
            // Observers and subscribers are told of the launch, and can block.
            let launched = Arc::clone(&run);
            self.shared.commands.send(move || launched.launch());
        } else {
            run.launch();
        }
        Box::new(run)
    }
}

/// A run that has ended at once.
struct NoRun;

impl RunHandle for NoRun {
    fn stop(&self) {}

    fn kill(&self) -> bool {
        true
    }

    fn revoke(&self) -> bool {
        false
    }

    fn message(&self, _message: Arc<[u8]>) {}

    fn taken(&self, _count: usize) {}

    fn has_receiver(&self, _is_there: bool) {}
}

impl Shared {
    fn insert(self: &Arc<Self>, new: impl FnOnce(u64) -> Arc<Run>) -> Arc<Run> {
        let number = {
            let mut state = self.state.lock();
            state.next += 1;
            state.next
        };
        let run = new(number);
        let mut state = self.state.lock();
        state.runs.insert(number, Arc::downgrade(&run));
        if !std::mem::replace(&mut state.looking, true) {
            drop(state);
            self.look_later();
        }
        run
    }

    /// Records that the node takes no more calls, to be shown.
    pub(super) fn set_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Returns how many runs are not over.
    pub(super) fn running(&self) -> usize {
        self.state.lock().runs.len()
    }

    pub(super) fn remove(&self, number: u64) {
        let run = self.state.lock().runs.remove(&number);
        drop(run);
    }

    fn look_later(self: &Arc<Self>) {
        let shared = Arc::downgrade(self);
        timer::at(Instant::now() + LOOK_INTERVAL, move || {
            if let Some(shared) = shared.upgrade() {
                shared.look();
            }
        });
    }

    /// Looks at the runs, and again later while there are any. Called by the timer.
    fn look(self: &Arc<Self>) {
        let runs: Vec<Arc<Run>> = {
            let mut state = self.state.lock();
            state.looking = !state.runs.is_empty();
            if !state.looking {
                return;
            }
            state.runs.values().filter_map(Weak::upgrade).collect()
        };
        for run in &runs {
            if run.is_long() {
                run.look();
            }
        }
        self.look_later();
    }
}

/// A slot that a run occupies, given up when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Slot {
    _one: Arc<OneSlot>,
}

struct OneSlot {
    shared: Arc<Shared>,
    priority: Priority,
    events: Arc<dyn RunEvents>,
}

impl Slot {
    fn take(shared: &Arc<Shared>, priority: Priority, events: Arc<dyn RunEvents>) -> Slot {
        shared.state.lock().slots.acquire(priority);
        Slot { _one: Arc::new(OneSlot { shared: Arc::clone(shared), priority, events }) }
    }
}

impl Drop for OneSlot {
    fn drop(&mut self) {
        if crate::fork::is_copy() {
            return;
        }
        self.shared.state.lock().slots.release(self.priority);
        self.events.room_changed();
    }
}
