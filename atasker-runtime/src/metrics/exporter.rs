//! The exporter of a supervisor: the observer that counts what happens, and the times at which that
//! is written.
//!
//! Nothing polls. The first fact after a write sets an entry of the timer, and so does a change of
//! a gauge, because a further change may follow it that no observer is told of: a call in a worker
//! process begins. An idle supervisor therefore has one more sample of its gauges taken after the
//! last change, and then none.
//!
//! A cluster changes without any event here, so an exporter whose supervisor has joined one looks at
//! it every few seconds. That does not wait for the broker, and writes only what has changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::cluster;
use super::gauges::{self, Refresh};
use super::names::Limit;
use super::pending::{Batch, Pending, TaskFacts, TaskKey};
use super::series::{Done, Rest, Sample, Writer, record_all};
use super::{catalog, forget, recorder};
use crate::error::{DeathCause, TaskError, WorkerDeath};
use crate::info::Outcome;
use crate::observe::load::LoadListener;
use crate::observe::observer::{BackgroundRun, Observer, ProcessEvent, TaskEvent};
use crate::observe::outcome;
use crate::observe::registry::{ObserverGuard, Promptness};
use crate::supervisor::Core;
use crate::supervisor::load::PoolLoad;
use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use crate::time::timer;
use crate::unwind::{attempt, log};

/// How long facts wait. Less than the half second that is promised, to leave time for the write.
const WRITE_AFTER: Duration = Duration::from_millis(400);
/// The least time between two writes of a gauge.
const GAUGE_INTERVAL: Duration = Duration::from_millis(500);

/// No entry of the timer exists.
const IDLE: u8 = 0;
/// It exists because gauges may have changed that nothing tells of.
const CHECKS: u8 = 1;
/// It exists because something happened.
const ACTIVE: u8 = 2;

/// Why facts are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Request {
    /// The timer, after a change: gauges are written if they have changed again.
    Check,
    /// The timer: gauges are written if they are due.
    Tick,
    /// Gauges are written as well.
    Now,
    /// For the last time: the gauges become 0.
    End,
}

/// The writer, which one thread uses at a time, and without the lock.
struct Writing {
    /// `None` while it is in use.
    writer: Option<Box<Writer>>,
    /// The thread that writes.
    holder: Option<ThreadId>,
    /// What that thread does next.
    requested: Option<Request>,
    /// When gauges were written last.
    gauges_at: Option<Instant>,
    ended: bool,
}

/// See the module documentation.
pub(super) struct Exporter {
    me: Weak<Exporter>,
    core: Weak<Core>,
    supervisor: Arc<str>,
    /// The guard of the registration as an observer.
    registered: OnceLock<Mutex<Option<ObserverGuard>>>,
    pending: Pending,
    /// Deaths of worker processes, by cause.
    deaths: Mutex<BTreeMap<String, u64>>,
    /// What has happened to remote tasks.
    remote: cluster::Facts,
    /// An entry of the timer exists for the next look at the cluster.
    looks: AtomicBool,
    /// Whether an entry of the timer exists, and why: [`IDLE`], [`CHECKS`] or [`ACTIVE`].
    armed: AtomicU8,
    /// No recorder was installed when something happened, or was written, last.
    unrecorded: AtomicBool,
    /// The address of the global recorder, as the timer saw it last.
    known: AtomicUsize,
    writing: Mutex<Writing>,
    /// Notified when a thread has written.
    written: Condvar,
}

impl Exporter {
    pub(super) fn new(core: &Arc<Core>) -> Arc<Self> {
        let supervisor = Arc::clone(&core.observers().supervisor);
        Arc::new_cyclic(|me| Exporter {
            me: Weak::clone(me),
            core: Arc::downgrade(core),
            registered: OnceLock::new(),
            pending: Pending::new(),
            deaths: Mutex::new(BTreeMap::new()),
            remote: cluster::Facts::new(),
            looks: AtomicBool::new(false),
            armed: AtomicU8::new(IDLE),
            unrecorded: AtomicBool::new(recorder::is_none()),
            known: AtomicUsize::new(0),
            writing: Mutex::new(Writing {
                writer: Some(Box::new(Writer::new(&supervisor))),
                holder: None,
                requested: None,
                gauges_at: None,
                ended: false,
            }),
            written: Condvar::new(),
            supervisor,
        })
    }

    /// Makes it an observer of its supervisor, once, and has the gauges written for the first time.
    pub(super) fn register(&self, core: &Core) {
        self.registered.get_or_init(|| {
            let Some(me) = self.me.upgrade() else { return Mutex::new(None) };
            let listener: Weak<dyn LoadListener> = self.me.clone();
            core.observers().load.add(listener);
            let observer = Box::new(Registration(me));
            let guard = core.observers().add(observer, Promptness::InTime);
            self.arm(Duration::ZERO, ACTIVE);
            Mutex::new(Some(guard))
        });
    }

    /// Ends the export: writes what is due, and sets the gauges to 0.
    pub(super) fn end(&self) {
        let guard = self.registered.get().and_then(|guard| guard.lock().take());
        drop(guard);
        self.write(Request::End);
        if let Some(core) = self.core.upgrade() {
            // The supervisor may be exported again already, and its gauges are 0 now.
            core.observers().load.changed();
        }
    }

    /// Something happened: it is written in time.
    fn touch(&self) {
        // Relaxed: a tick clears the flag before it takes the facts out of a shard. A thread that
        // adds a fact later than that has seen the flag cleared, because of the shard's lock.
        if self.armed.load(Ordering::Relaxed) != ACTIVE {
            self.arm(WRITE_AFTER, ACTIVE);
        }
    }

    #[cold]
    fn arm(&self, after: Duration, why: u8) {
        if self.armed.fetch_max(why, Ordering::Relaxed) != IDLE {
            return;
        }
        let me = Weak::clone(&self.me);
        timer::at(Instant::now() + after, move || {
            if let Some(exporter) = me.upgrade() {
                let why = exporter.armed.swap(IDLE, Ordering::Relaxed);
                exporter.known.store(recorder::address(), Ordering::Relaxed);
                exporter.write(if why == ACTIVE { Request::Tick } else { Request::Check });
            }
        });
    }

    /// Forgets what happened before a recorder was installed.
    #[inline]
    fn follow_recorder(&self) {
        // Once there is a recorder, this is all.
        if self.unrecorded.load(Ordering::Relaxed) && !recorder::is_none() {
            self.forget_earlier();
        }
    }

    #[cold]
    fn forget_earlier(&self) {
        if self.unrecorded.swap(false, Ordering::Relaxed) {
            self.deaths.lock().clear();
            self.remote.take_lost();
            drop(self.pending.forget());
        }
    }

    /// Changes the facts about a task.
    fn task(&self, event: &TaskEvent<'_>, change: impl FnOnce(&mut TaskFacts) -> Option<Batch>) {
        self.follow_recorder();
        let (name, static_name) = (event.name(), event.static_name());
        let key = TaskKey { name, static_name, tt: event.tt() };
        let Some((batch, limit)) = self.pending.task(&key, change) else { return };
        self.touch();
        self.write_batch(batch);
        if limit == Limit::JustReached {
            log!(
                warn,
                supervisor = &*self.supervisor,
                name,
                "metrics of a supervisor have reached 1,000 names of tasks: later ones are recorded as `other`; \
                 use few names, and parameters for the rest"
            );
        }
    }

    fn write_batch(&self, batch: Option<Batch>) {
        if let Some(Batch { values, handle }) = batch
            && !record_all(&handle, &values)
        {
            self.report_panic();
        }
    }

    fn report_panic(&self) {
        log!(error, supervisor = &*self.supervisor, "the recorder of metrics panicked");
    }

    /// Writes on this thread, or has the thread write that is doing so.
    fn write(&self, request: Request) {
        let mut writing = self.writing.lock();
        if writing.ended {
            return;
        }
        writing.requested = writing.requested.max(Some(request));
        let me = thread::current().id();
        if let Some(holder) = writing.holder {
            // The thread of the timer need not wait, and the recorder may end the export itself.
            if request >= Request::Now && holder != me {
                while writing.holder.is_some() {
                    self.written.wait(&mut writing);
                }
            }
            return;
        }
        writing.holder = Some(me);
        while let Some(request) = writing.requested.take() {
            let Some(mut writer) = writing.writer.take() else { break };
            let gauges_at = writing.gauges_at;
            let mut gauges_written = None;
            MutexGuard::unlocked(&mut writing, || {
                // Panics of the recorder are contained one by one. Whatever else may panic, the
                // writer must be back for the end.
                let performed = attempt(|| self.perform(&mut writer, request, gauges_at));
                gauges_written = performed.flatten();
            });
            writing.gauges_at = gauges_written.or(gauges_at);
            writing.writer = Some(writer);
            if request == Request::End {
                writing.ended = true;
                break;
            }
        }
        writing.holder = None;
        drop(writing);
        self.written.notify_all();
    }

    /// Writes. Returns the time if gauges were due.
    fn perform(
        &self,
        writer: &mut Writer,
        request: Request,
        gauges_at: Option<Instant>,
    ) -> Option<Instant> {
        let now = Instant::now();
        let next_gauges = gauges_at.map(|at| at + GAUGE_INTERVAL).filter(|next| *next > now);
        let sample = match (request, next_gauges) {
            (Request::End, _) => {
                self.pending.close();
                Some(self.empty())
            }
            (Request::Check | Request::Tick, Some(_)) => None,
            (Request::Check | Request::Tick | Request::Now, _) => Some(self.sample()),
        };
        let refresh = if request == Request::Check { Refresh::IfChanged } else { Refresh::Always };
        let settled = sample.as_ref().map(|(_, _, settled)| *settled);
        let sample = sample.map(|(gauges, cluster, _)| Sample { gauges, cluster, refresh });
        let looks = sample.as_ref().is_some_and(|sample| sample.cluster.is_joined);
        let mut done = Done { gauges_changed: false, panicked: false };
        recorder::with_global(self.known.load(Ordering::Relaxed), || {
            // Perhaps on another thread.
            self.writing.lock().holder = Some(thread::current().id());
            done = self.write_all(writer, sample);
        });
        self.writing.lock().holder = Some(thread::current().id());
        if done.panicked {
            self.report_panic();
        }
        if looks {
            self.look_again();
        }
        match (settled, next_gauges) {
            _ if request == Request::End => {
                writer.drop_handles();
                drop(self.pending.forget());
            }
            (None, Some(next)) => {
                let why = if request == Request::Check { CHECKS } else { ACTIVE };
                self.arm(next.saturating_duration_since(Instant::now()), why);
            }
            (Some(settled), _) if done.gauges_changed || settled == Settled::No => {
                self.arm(WRITE_AFTER, CHECKS);
            }
            _ => {}
        }
        settled.map(|_| now)
    }

    /// Returns the sample of a supervisor that is not active.
    fn empty(&self) -> (gauges::Sample, cluster::Sample, Settled) {
        (gauges::Sample::default(), cluster::Sample::default(), Settled::Yes)
    }

    /// Takes a sample of the gauges.
    fn sample(&self) -> (gauges::Sample, cluster::Sample, Settled) {
        let Some(core) = self.core.upgrade() else { return self.empty() };
        let Some(load) = core.load() else { return self.empty() };
        // A call that a worker process is about to begin: no observer is told when it does.
        let starts = |pool: &PoolLoad| {
            pool.waiting.total() > 0 && (pool.size == 0 || pool.running < pool.size)
        };
        let cluster = cluster::Sample::of(&core);
        let more = load.processes.as_ref().is_some_and(starts) || cluster.is_under_way;
        let settled = if more { Settled::No } else { Settled::Yes };
        (gauges::Sample::of(&load, self.remote.running(&cluster)), cluster, settled)
    }

    /// Looks at the cluster again after a while, because other programs change it, too.
    fn look_again(&self) {
        if self.looks.swap(true, Ordering::Relaxed) {
            return;
        }
        let me = Weak::clone(&self.me);
        timer::at(Instant::now() + cluster::EVERY, move || {
            if let Some(exporter) = me.upgrade() {
                exporter.looks.store(false, Ordering::Relaxed);
                if !exporter.writing.lock().ended {
                    exporter.arm(Duration::ZERO, CHECKS);
                }
            }
        });
    }

    /// Writes all facts to the recorder of this thread, which is the global one.
    fn write_all(&self, writer: &mut Writer, sample: Option<Sample>) -> Done {
        let is_none = recorder::is_none();
        if !is_none {
            // In case nothing has happened since the recorder was installed.
            self.follow_recorder();
        }
        self.unrecorded.store(is_none, Ordering::Relaxed);
        let is_new = writer.follow(recorder::address());
        let taken = self.pending.take();
        let deaths = std::mem::take(&mut *self.deaths.lock());
        let rest = Rest { deaths, lost: self.remote.take_lost(), sample };
        ::metrics::with_recorder(|recorder| {
            let described = !is_new || catalog::describe(recorder);
            let mut done = writer.write(recorder, &self.pending, taken, rest);
            done.panicked |= !described;
            done
        })
    }
}

/// Whether only events that are told can change the gauges now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Settled {
    Yes,
    No,
}

impl LoadListener for Exporter {
    fn load_changed(&self) {
        self.touch();
    }

    fn stopped(&self) {
        self.write(Request::Now);
    }
}

/// The exporter as an observer. Dropped with the supervisor, if the export has not ended before.
struct Registration(Arc<Exporter>);

impl Drop for Registration {
    fn drop(&mut self) {
        if self.0.core.strong_count() == 0 {
            forget(&self.0.me);
            self.0.write(Request::End);
        }
    }
}

impl Observer for Registration {
    fn launched(&self, task: &TaskEvent<'_>) {
        self.0.task(task, |facts| {
            facts.launched[task.priority().index()] += 1;
            None
        });
    }

    fn started(&self, task: &TaskEvent<'_>) {
        self.0.remote.begun(task);
        let queued_for = task.queued_for();
        self.0.task(task, |facts| {
            queued_for.and_then(|t| facts.queue[task.priority().index()].push(t))
        });
    }

    fn retrying(&self, task: &TaskEvent<'_>, _error: Option<&TaskError>, _pause: Duration) {
        self.0.remote.over(task);
        self.0.task(task, |facts| {
            facts.retries += 1;
            let ran_for = task.ran_for()?;
            facts.run[task.priority().index()].push(ran_for)
        });
    }

    fn ended(&self, task: &TaskEvent<'_>, result: Result<(), &TaskError>) {
        let returned_err = task.outcome() == Some(Outcome::ReturnedErr);
        let outcome = outcome::index_of(result.err(), returned_err);
        self.0.remote.over(task);
        self.0.task(task, |facts| {
            facts.completed[outcome] += 1;
            let ran_for = task.ran_for()?;
            facts.run[task.priority().index()].push(ran_for)
        });
    }

    fn process_started(&self, _process: &ProcessEvent<'_>) {
        self.0.touch();
    }

    fn process_ended(&self, _process: &ProcessEvent<'_>, death: Option<&WorkerDeath>) {
        if let Some(death) = death {
            self.0.follow_recorder();
            let cause = match death.cause() {
                DeathCause::Other(_) => catalog::OTHER.to_owned(),
                cause => cause.to_string(),
            };
            *self.0.deaths.lock().entry(cause).or_default() += 1;
        }
        self.0.touch();
    }

    fn background_run(&self, run: &BackgroundRun<'_>) {
        let exporter = &self.0;
        exporter.follow_recorder();
        let counted = exporter.pending.worker(run.name(), |facts| {
            facts.runs[usize::from(run.error().is_some())] += 1;
            facts.lateness.push(run.lateness()?)
        });
        let Some((batch, limit)) = counted else { return };
        exporter.touch();
        exporter.write_batch(batch);
        if limit == Limit::JustReached {
            log!(
                warn,
                supervisor = &*exporter.supervisor,
                worker = run.name(),
                "metrics of a supervisor have reached 1,000 names of background workers: later ones are \
                 recorded as `other`"
            );
        }
    }
}
