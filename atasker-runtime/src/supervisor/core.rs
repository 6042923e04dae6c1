//! What the handles of a supervisor, its tasks and its threads share.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::Context;

use parking_lot::Mutex;

use super::alarm::Alarms;
use super::recurring::Recurrings;
use super::tally::{Left, Tally};
use crate::id::TaskId;
use crate::info::{SupervisorInfo, TaskInfo};
use crate::job::Place;
use crate::options::PoolConfig;
use crate::task::header::{Header, refresh};
use crate::task::owners::{self, OwnerKey};
use crate::task::waiters::{WaiterKey, Waiters};
use crate::task::{AnyTask, Owner, books, park};
use crate::thread::ThreadPool;

/// See the module's documentation of `supervisor`.
pub(crate) struct Core {
    pub(super) me: Weak<Core>,
    id: String,
    /// What its tasks know it by.
    pub(super) key: OwnerKey,
    /// How many tasks it has.
    pub(super) tally: Tally,
    /// Written under the lock of `life`. Launches and ends read it without: see `tally`.
    phase: AtomicU8,
    pub(super) life: Mutex<Life>,
    pub(super) threads: ThreadPool,
    #[cfg(feature = "mp")]
    pub(super) processes: Arc<crate::process::ProcessPool>,
    #[cfg(feature = "async")]
    pub(super) aloops: crate::aloop::Aloops,
    pub(super) alarms: Alarms,
    pub(super) recurring: Recurrings,
}

/// What is known of stops, under one lock.
#[derive(Default)]
pub(super) struct Life {
    /// Who waits for a change of the phase of life, or for empty books.
    pub(super) waiters: Waiters,
    /// Tasks of our own that asked for the stop under way: it does not wait for them, nor ends them.
    pub(super) inside: Vec<TaskId>,
    /// Stops that are over. Whoever waits for one counts, lest a quick restart hide it.
    pub(super) stops: u64,
    /// Somebody ends the places at the moment.
    pub(super) closing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    /// Never used: the first launch starts it.
    Idle = 0,
    Active = 1,
    /// Takes tasks of its own tasks only.
    Draining = 2,
    /// Takes none until it is started again.
    Stopped = 3,
}

impl Drop for Core {
    fn drop(&mut self) {
        owners::forget(self.key);
    }
}

impl Core {
    pub(super) fn new(
        id: String,
        threads: PoolConfig,
        #[cfg(feature = "mp")] processes: crate::process::MpPoolConfig,
    ) -> Arc<Core> {
        let core = |me: &Weak<Core>, key: OwnerKey| Core {
            me: me.clone(),
            key,
            tally: Tally::default(),
            phase: AtomicU8::new(Phase::Idle as u8),
            life: Mutex::new(Life::default()),
            threads: ThreadPool::new(&id, key, threads),
            #[cfg(feature = "mp")]
            processes: crate::process::ProcessPool::new(&id, Some(key), processes),
            #[cfg(feature = "async")]
            aloops: crate::aloop::Aloops::new(&id, me.clone()),
            alarms: Alarms::new(me.clone()),
            recurring: Recurrings::default(),
            id,
        };
        Arc::new_cyclic(|me: &Weak<Core>| {
            let owner: Weak<dyn Owner> = me.clone();
            core(me, owners::register(owner))
        })
    }

    /// What its tasks know it by.
    #[cfg(feature = "async")]
    pub(crate) fn key(&self) -> OwnerKey {
        self.key
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Idle,
            1 => Phase::Active,
            2 => Phase::Draining,
            _ => Phase::Stopped,
        }
    }

    /// Only under the lock of `life`.
    pub(super) fn set_phase(&self, _life: &mut Life, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    pub(crate) fn is_active(&self) -> bool {
        self.phase() == Phase::Active
    }

    pub(super) fn start(&self) -> bool {
        self.activate(true)
    }

    /// Turns to active; out of a stop only for a `restart`. False if it was active.
    pub(super) fn activate(&self, restart: bool) -> bool {
        loop {
            let stops = {
                let life = self.life.lock();
                match self.phase() {
                    Phase::Active => return false,
                    // A task of our own would wait for itself.
                    Phase::Draining if !restart || self.inside() => return false,
                    Phase::Stopped if !restart => return false,
                    Phase::Draining => {
                        drop(life);
                        self.block();
                        continue;
                    }
                    Phase::Idle | Phase::Stopped => life.stops,
                }
            };
            // The places first: whoever sees it active may launch. Opening twice does no harm.
            self.open();
            let mut life = self.life.lock();
            if life.stops == stops && matches!(self.phase(), Phase::Idle | Phase::Stopped) {
                self.set_phase(&mut life, Phase::Active);
                drop(life);
                tracing::debug!(target: "atasker", supervisor = %self.id, "started");
                return true;
            }
        }
    }

    /// Opens the places.
    fn open(&self) {
        self.threads.open();
        #[cfg(feature = "mp")]
        if !crate::process::in_worker() {
            self.processes.open();
        }
    }

    /// Closes the places. The loops of `own` go on until these tasks have ended.
    pub(super) fn close(&self, own: &[Arc<dyn AnyTask>]) {
        #[cfg(feature = "mp")]
        self.processes.close();
        #[cfg(feature = "async")]
        self.aloops.close_after(own);
        #[cfg(not(feature = "async"))]
        let _ = own;
        self.threads.close();
    }

    /// Blocks until it is stopped.
    #[track_caller]
    pub(super) fn block(&self) {
        let key = WaiterKey::next();
        let before = self.life.lock().stops;
        park::block_on(None, |context| {
            self.poll_life(key, context, |life| {
                self.phase() == Phase::Stopped || life.stops != before
            })
        });
    }

    /// Is ready when the phase of life is as wanted.
    pub(super) fn poll_life(
        &self,
        key: WaiterKey,
        context: &mut Context<'_>,
        wanted: impl FnOnce(&Life) -> bool,
    ) -> std::task::Poll<()> {
        let mut life = self.life.lock();
        let ready = wanted(&life);
        let old = match ready {
            true => life.waiters.remove(key),
            false => life.waiters.add(key, context.waker()),
        };
        drop(life);
        drop(old);
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }

    /// A task of its own in the books, whether or not it has ended.
    pub(super) fn booked(&self, id: TaskId) -> Option<Arc<dyn AnyTask>> {
        books::get(id).filter(|task| task.header().owner == Some(self.key))
    }

    pub(super) fn find(&self, id: TaskId) -> Option<Arc<dyn AnyTask>> {
        self.booked(id).filter(|task| !task.header().state.read().is_ended())
    }

    /// The live tasks, in the order of their launch.
    pub(super) fn live_tasks(&self) -> Vec<Arc<dyn AnyTask>> {
        let mut tasks = Vec::new();
        // Counted first: whatever is counted by then is seen below.
        if self.tally.live() > 0 {
            books::for_each(|task| {
                let header = task.header();
                if header.owner == Some(self.key) && !header.state.read().is_ended() {
                    tasks.push(task);
                }
            });
        }
        tasks.sort_by_key(|task| (task.header().queued(), task.header().id.serial()));
        tasks
    }

    pub(super) fn infos(&self, wanted: impl Fn(&Header) -> bool) -> Vec<TaskInfo> {
        let tasks = self.live_tasks();
        let wanted = tasks.iter().filter(|task| wanted(task.header()));
        wanted
            .map(|task| {
                refresh(&**task);
                task.header().info()
            })
            .filter(|info| info.outcome.is_none())
            .collect()
    }

    pub(super) fn info(&self) -> SupervisorInfo {
        let mut info = SupervisorInfo {
            id: self.id.clone(),
            active: self.is_active(),
            tasks: self.live_tasks().len(),
            thread_pool: self.threads.info(),
            #[cfg(feature = "mp")]
            mp_pool: Some(self.processes.info()),
            #[cfg(not(feature = "mp"))]
            mp_pool: None,
            #[cfg(feature = "async")]
            aloops: self.aloops.info(),
            #[cfg(not(feature = "async"))]
            aloops: Vec::new(),
            workers: Vec::new(),
            jobs: Vec::new(),
        };
        self.recurring.show(&mut info);
        info
    }

    pub(super) fn set_thread_pool(&self, config: PoolConfig) {
        self.threads.set_config(config, self.is_active());
    }

    #[cfg(feature = "mp")]
    pub(super) fn set_mp_pool(&self, config: crate::process::MpPoolConfig) {
        self.processes.set_config(config);
    }

    #[cfg(feature = "async")]
    pub(super) fn create_aloop(
        &self,
        name: &str,
        threads: usize,
    ) -> std::io::Result<crate::aloop::Aloop> {
        self.aloops.create(name, threads)
    }

    /// A task lives no longer. Wakes a stop that waits for that.
    pub(super) fn count_out(&self, how: Left) {
        self.tally.leave(how);
        if self.phase() == Phase::Draining {
            let waiters = std::mem::take(&mut self.life.lock().waiters);
            waiters.wake();
        }
    }
}
