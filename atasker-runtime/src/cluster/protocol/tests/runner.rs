//! A runner whose runs do what the arguments of their calls say, and which keeps a log of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::cluster::door::{FunctionKey, NewRun, RunEnd, RunEvents, RunHandle, Runner};
use crate::error::TaskError;
use crate::id::TaskId;
use crate::priority::Priority;
use crate::sync::lock::Mutex;

/// What the runs of a call do, by the number of the attempt. The last one is for all further ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan(pub(super) Vec<Deed>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub(super) takes: Duration,
    /// Messages to the handle.
    pub(super) sends: u8,
    /// Messages of the handle that are waited for.
    pub(super) receives: u8,
    pub(super) ends: Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Ok,
    Err,
    Panic,
}

impl Plan {
    pub(super) fn ok_after(takes: Duration) -> Plan {
        Plan(vec![Deed { takes, sends: 0, receives: 0, ends: Ends::Ok }])
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for deed in &self.0 {
            let ends = match deed.ends {
                Ends::Ok => 0,
                Ends::Err => 1,
                Ends::Panic => 2,
            };
            bytes.extend((deed.takes.as_millis() as u32).to_le_bytes());
            bytes.extend([deed.sends, deed.receives, ends]);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Plan {
        let deed = |bytes: &[u8]| Deed {
            takes: Duration::from_millis(u32::from_le_bytes(bytes[..4].try_into().unwrap()).into()),
            sends: bytes[4],
            receives: bytes[5],
            ends: match bytes[6] {
                0 => Ends::Ok,
                1 => Ends::Err,
                _ => Ends::Panic,
            },
        };
        Plan(bytes.chunks_exact(7).map(deed).collect())
    }
}

/// What all runners of a test have done.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Runs do not stop when they are asked to.
    pub(super) stubborn: bool,
    /// Runs send their messages when they have got all that they wait for.
    pub(super) sends_late: bool,
    /// Runs take no more messages than they wait for.
    pub(super) takes_no_more: bool,
    pub(super) runs: BTreeMap<TaskId, Vec<LoggedRun>>,
}

#[derive(Clone, Debug)]
pub(super) struct LoggedRun {
    #[expect(dead_code, reason = "shown when a test fails")]
    pub(super) node: String,
    #[expect(dead_code, reason = "shown when a test fails")]
    pub(super) attempt: u32,
    pub(super) begun: Instant,
    pub(super) ended: Option<Instant>,
    pub(super) killed: bool,
    pub(super) received: Vec<u8>,
    pub(super) has_receiver: Option<bool>,
}

/// See the [module documentation](self).
pub(super) struct FakeRunner {
    name: String,
    slots: Arc<Semaphore>,
    given: Arc<AtomicUsize>,
    most_given: AtomicUsize,
    size: usize,
    can_kill: bool,
    functions: Vec<FunctionKey>,
    log: Arc<Mutex<Log>>,
}

impl FakeRunner {
    pub(super) fn new(
        name: &str,
        size: usize,
        functions: Vec<FunctionKey>,
        log: Arc<Mutex<Log>>,
    ) -> FakeRunner {
        FakeRunner {
            name: name.to_owned(),
            slots: Arc::new(Semaphore::new(size)),
            given: Arc::default(),
            most_given: AtomicUsize::new(0),
            size,
            can_kill: true,
            functions,
            log,
        }
    }

    /// Returns how many runs it was given at most at the same time.
    pub(super) fn most_given(&self) -> usize {
        self.most_given.load(Ordering::SeqCst)
    }

    pub(super) fn on_threads(mut self) -> FakeRunner {
        self.can_kill = false;
        self
    }
}

struct FakeRun {
    revoked: AtomicBool,
    begun: AtomicBool,
    stopped: AtomicBool,
    killed: AtomicBool,
    can_kill: bool,
    changed: Notify,
    messages: Mutex<Vec<u8>>,
    has_receiver: Mutex<Option<bool>>,
}

struct Handle(Arc<FakeRun>);

impl Runner for FakeRunner {
    fn room(&self, priority: Priority) -> usize {
        let given = self.given.load(Ordering::SeqCst);
        let extra = usize::from(priority == Priority::Critical);
        (self.size + extra).saturating_sub(given)
    }

    fn has(&self, function: &FunctionKey) -> bool {
        self.functions.contains(function)
    }

    fn run(&self, new: NewRun, events: Arc<dyn RunEvents>) -> Box<dyn RunHandle> {
        let run = Arc::new(FakeRun {
            revoked: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            can_kill: self.can_kill,
            changed: Notify::new(),
            messages: Mutex::default(),
            has_receiver: Mutex::default(),
        });
        let given = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_given.fetch_max(given, Ordering::SeqCst);
        let given = self.given.clone();
        let (slots, log, name) = (self.slots.clone(), self.log.clone(), self.name.clone());
        let of = run.clone();
        tokio::task::spawn_local(async move {
            let slot = slots.acquire().await;
            if !of.revoked.load(Ordering::SeqCst) {
                of.begun.store(true, Ordering::SeqCst);
                let begun = Instant::now();
                let end = carry_out(&new, &of, &*events, &log, &name).await;
                events.ended(end, Some(begun.elapsed()));
            }
            drop(slot);
            given.fetch_sub(1, Ordering::SeqCst);
            events.room_changed();
        });
        Box::new(Handle(run))
    }
}

async fn carry_out(
    new: &NewRun,
    run: &FakeRun,
    events: &dyn RunEvents,
    log: &Mutex<Log>,
    name: &str,
) -> RunEnd {
    let id = new.head.id;
    let index = {
        let mut log = log.lock();
        let runs = log.runs.entry(id).or_default();
        runs.push(LoggedRun {
            node: name.to_owned(),
            attempt: new.attempt,
            begun: Instant::now(),
            ended: None,
            killed: false,
            received: Vec::new(),
            has_receiver: None,
        });
        runs.len() - 1
    };
    let logged = |change: &dyn Fn(&mut LoggedRun)| {
        change(&mut log.lock().runs.get_mut(&id).unwrap()[index]);
    };
    events.begun(7);
    let plan = Plan::decode(&new.args).0;
    let deed = plan[(new.attempt as usize - 1).min(plan.len() - 1)];
    let mut to_send = deed.sends;
    let mut send = || {
        for number in 0..std::mem::take(&mut to_send) {
            events.message(vec![new.attempt as u8, number].into());
        }
    };
    let (sends_late, takes_no_more) = {
        let log = log.lock();
        (log.sends_late, log.takes_no_more)
    };
    if !sends_late {
        send();
    }
    let mut missing = usize::from(deed.receives);
    let until = Instant::now() + deed.takes;
    // The handle may be gone.
    let give_up = Instant::now() + Duration::from_secs(20);
    let stops = || run.stopped.load(Ordering::SeqCst) && !log.lock().stubborn;
    let ends = loop {
        let changed = run.changed.notified();
        let messages: Vec<u8> = {
            let mut waiting = run.messages.lock();
            let count = if takes_no_more { missing.min(waiting.len()) } else { waiting.len() };
            waiting.drain(..count).collect()
        };
        logged(&|logged| logged.has_receiver = *run.has_receiver.lock());
        if missing > 0 && messages.len() >= missing {
            send();
        }
        if !messages.is_empty() {
            events.taken(messages.len());
            missing = missing.saturating_sub(messages.len());
            logged(&|run| run.received.extend(&messages));
        }
        if run.killed.load(Ordering::SeqCst) {
            logged(&|run| run.killed = true);
            return RunEnd::Failed(TaskError::Canceled);
        }
        if stops() || ((missing == 0 || Instant::now() >= give_up) && Instant::now() >= until) {
            break deed.ends;
        }
        if missing > 0 && Instant::now() < give_up {
            drop(tokio::time::timeout_at(give_up, changed).await);
        } else {
            drop(tokio::time::timeout_at(until, changed).await);
        }
    };
    logged(&|run| run.ended = Some(Instant::now()));
    let result = vec![new.attempt as u8];
    match ends {
        Ends::Ok => RunEnd::Returned { result, is_err: false },
        Ends::Err => RunEnd::Returned { result, is_err: true },
        Ends::Panic => RunEnd::Failed(TaskError::Panicked {
            message: format!("attempt {}", new.attempt),
            location: None,
            backtrace: None,
        }),
    }
}

impl RunHandle for Handle {
    fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }

    fn kill(&self) -> bool {
        if self.0.can_kill {
            self.0.killed.store(true, Ordering::SeqCst);
            self.0.changed.notify_waiters();
        }
        self.0.can_kill
    }

    fn revoke(&self) -> bool {
        if self.0.begun.load(Ordering::SeqCst) {
            return false;
        }
        self.0.revoked.store(true, Ordering::SeqCst);
        true
    }

    fn message(&self, message: Arc<[u8]>) {
        self.0.messages.lock().extend(&*message);
        self.0.changed.notify_waiters();
    }

    fn taken(&self, _count: usize) {}

    fn has_receiver(&self, is_there: bool) {
        *self.0.has_receiver.lock() = Some(is_there);
        self.0.changed.notify_waiters();
    }
}
