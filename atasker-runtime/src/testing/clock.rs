//! A clock of a supervisor that a test moves.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::fork;
use crate::id::SchedulerKey;
use crate::observe::observer::{self, Observer};
use crate::observe::registry::{ObserverGuard, Promptness};
use crate::supervisor::{Core, Supervisor};
use crate::sync::lock::Mutex;
use crate::task::state::Phase;
use crate::task::waiters::{self, WaiterKey, Waiters};
use crate::task::{Schedule, current, hold, park};
use crate::time::activity::Activity;
use crate::time::{Move, Reading, source};

/// How long an advance waits at each due time, in real time.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it waits for the begin of tasks that have a slot: a worker process may have to start.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses the time of a supervisor until the returned guard is dropped.
///
/// By that time go the delays, time limits, pauses between attempts, rates of limits, expiries,
/// intervals and pauses of background workers, jobs and
/// [`on_queued_for`](Supervisor::on_queued_for) of this supervisor, also those that have begun before.
/// Cron jobs take their time of day from it. It stands still until
/// [`advance`](ClockGuard::advance) moves it. Other supervisors are not affected.
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Supervisor, TaskBuilder, testing};
///
/// let sup = Supervisor::builder().build();
/// let clock = testing::pause(&sup);
/// let reminder = TaskBuilder::new(|| "tea")
///     .delay(Duration::from_secs(240))
///     .supervisor(&sup)
///     .start();
/// clock.advance(Duration::from_secs(239));
/// assert!(!reminder.is_started());
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(reminder.result(), Some(&"tea"));
/// ```
///
/// These stay real:
///
/// * waits and sleeps: [`wait_stop`](crate::TaskContext::wait_stop),
///   [`recv_timeout`](crate::TaskContext::recv_timeout),
///   [`wait_timeout`](crate::Task::wait_timeout), `std::thread::sleep`, `tokio::time`;
/// * the deadline of a [`stop`](Supervisor::stop). A stop without one waits until the clock has
///   reached the time of each delayed task;
/// * time stamps and durations that are reported: [`time_queued`](crate::Task::time_queued) and its
///   like, which never contradict each other, `last_executed`, events and metrics. `next` in the
///   [`info`](Supervisor::info) of a worker or job is by the paused clock;
/// * how long threads and worker processes are kept while idle, and the pauses between failed starts
///   of them.
///
/// Dropping the guard lets the time run on from where it stands: what is due in an hour by then is
/// due an hour later. A dropped supervisor ends as usual.
///
/// In a fork of the process this does nothing.
///
/// # Panics
///
/// Panics if the time of the supervisor is paused already.
#[track_caller]
pub fn pause(supervisor: &Supervisor) -> ClockGuard {
    let core = supervisor.core();
    let mut guard = ClockGuard {
        core: Arc::downgrade(core),
        key: core.key(),
        paused: None,
        turn: Mutex::new(Turn { taken: false, waiters: Waiters::NONE }),
    };
    if fork::is_copy() {
        return guard;
    }
    // Before the pause: launches, begins and ends are reported from now on, also those of calls in
    // worker processes.
    let observer = core.observers().add(Box::new(Prompt), Promptness::AtOnce);
    assert!(
        source::pause(core.key()),
        "the time of the supervisor `{}` is paused already: drop the earlier `ClockGuard`, or give \
         each test a supervisor of its own",
        core.id()
    );
    guard.paused = Some(observer);
    if let Some(reading) = source::reading(Some(core.key())) {
        core.processes.on_clock(reading);
    }
    let runs = core.timed_runs();
    for task in core.live_tasks() {
        let header = task.header();
        hold::on_pause(header, runs.contains(&header.id()));
    }
    guard
}

/// The paused time of a supervisor. See [`pause`].
#[must_use = "the time of the supervisor runs again when the guard is dropped"]
pub struct ClockGuard {
    core: Weak<Core>,
    key: SchedulerKey,
    /// `None` if this does nothing.
    paused: Option<ObserverGuard>,
    turn: Mutex<Turn>,
}

/// One advance at a time.
struct Turn {
    taken: bool,
    waiters: Waiters,
}

/// While there is an observer, worker processes report the begin of calls at once.
struct Prompt;

impl Observer for Prompt {}

impl ClockGuard {
    /// Moves the time of the supervisor by `duration`.
    ///
    /// The clock goes from one due time to the next. At each, it waits until the tasks, runs and jobs
    /// that begin there have ended, with what they have launched, or wait for a later time: a retry,
    /// for example. It waits for a second at most (in real time), because a task may wait for
    /// something that only the test does, or for a later due time. Thus five intervals are five runs,
    /// one after the other, and a run that launches a delayed task does so at its own time.
    ///
    /// Before the first step, the tasks that were launched earlier begin, unless they have to wait for
    /// a slot, and so do worker processes for them; and runs of background workers, and attempts that
    /// may be followed by others, end, for a second at most. So their times count from the launch.
    ///
    /// With a duration of 0, this only waits. Concurrent calls move the clock one after the other.
    /// An advance does not wait for a task that calls `advance` itself.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop, and in an observer, because it blocks.
    #[track_caller]
    pub fn advance(&self, duration: Duration) {
        if fork::is_copy() || self.paused.is_none() {
            return;
        }
        assert!(
            !park::would_block_aloop(),
            "`ClockGuard::advance` would block the thread of an aloop: call it on another thread"
        );
        assert!(
            !observer::is_inside(),
            "`ClockGuard::advance` in an observer would wait for the task that it observes: call it on \
             another thread"
        );
        // Another advance may wait for this task.
        current::with(|task| {
            let own = task.filter(|task| task.scheduler == Some(self.key));
            drop(own.and_then(hold::take));
        });
        let _turn = self.take_turn();
        self.settle();
        let start = source::now(Some(self.key));
        let last = start.checked_add(duration.min(crate::time::clock::FAR)).unwrap_or(start);
        loop {
            let next = source::next_due(self.key, last);
            let (time, why) = match next {
                Some(next) => (next, Move::ToDueTime),
                None => (last, Move::ToEnd),
            };
            if let Some(core) = self.core.upgrade() {
                // Before the timer of the clock reports.
                core.processes.on_clock(Reading::paused_at(time));
            }
            let Some(activity) = source::move_to(self.key, time, why) else { return };
            wait_for(&activity, PATIENCE);
            if next.is_none() {
                return;
            }
        }
    }

    /// Waits for what was launched before.
    fn settle(&self) {
        if let Some(core) = self.core.upgrade() {
            for task in core.live_tasks() {
                let header = task.header();
                if header.state.read().phase() == Phase::Queued
                    && hold::awaits_begin(header)
                    && core.place(header.tt).waits_for_slot(&*task)
                {
                    drop(hold::take(header));
                }
            }
        }
        if let Some([launches, activity]) = source::activities(self.key) {
            wait_for(&launches, START_PATIENCE);
            wait_for(&activity, PATIENCE);
        }
    }

    fn poll_turn(&self, key: WaiterKey, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut turn = self.turn.lock();
        let is_ours = !std::mem::replace(&mut turn.taken, true);
        let (old, spare) = match is_ours {
            true => (turn.waiters.remove(key), Some(waker)),
            false => (turn.waiters.add(key, waker), None),
        };
        drop(turn);
        waiters::drop_waker(old);
        waiters::drop_waker(spare);
        if is_ours { Poll::Ready(()) } else { Poll::Pending }
    }

    #[track_caller]
    fn take_turn(&self) -> TurnGuard<'_> {
        let key = WaiterKey::next();
        park::block_on(None, |context| self.poll_turn(key, context));
        TurnGuard(&self.turn)
    }
}

/// Waits until nothing is busy.
#[track_caller]
fn wait_for(activity: &Activity, patience: Duration) {
    let _ = park::block_on(Some(Instant::now() + patience), |context| activity.poll_idle(context));
}

impl Drop for ClockGuard {
    fn drop(&mut self) {
        if fork::is_copy() || self.paused.is_none() {
            return;
        }
        source::resume(self.key);
        if let (Some(core), Some(reading)) = (self.core.upgrade(), source::reading(Some(self.key)))
        {
            core.processes.on_clock(reading);
        }
    }
}

impl fmt::Debug for ClockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.core.upgrade();
        let id = core.as_ref().map(|core| core.id());
        f.debug_struct("ClockGuard").field("supervisor", &id).finish_non_exhaustive()
    }
}

/// The turn of an advance.
struct TurnGuard<'a>(&'a Mutex<Turn>);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        let waiters = {
            let mut turn = self.0.lock();
            turn.taken = false;
            std::mem::take(&mut turn.waiters)
        };
        waiters.wake();
    }
}
