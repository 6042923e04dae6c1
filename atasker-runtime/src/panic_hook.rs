//! Locations of panics. Only the panic hook learns them, so the library installs one. It forwards
//! to the hook that it has found, and records the panic for [`catch`](crate::unwind::catch).
//!
//! **Which panic.** Other panics can occur between the hook and the catch: a destructor run by the
//! unwinding catches its own, or a function catches several and resumes an older one, for which no
//! hook is called. So each record identifies its payload, and only the record of the caught payload
//! is used. A text is identified by its address and content, any other value by its type, provided
//! that only one value of that type was seen. Otherwise the location is unknown.
//!
//! **A hook set later by the program** replaces ours, and std then drops ours. Its destructor
//! installs a new one in front of the program's, before `set_hook` returns. If a program removes
//! our hook, keeps it, and sets one that does not call it, locations are unknown until it
//! reinstalls ours. That can't be detected without removing the hook temporarily, and a panic in
//! that moment would miss the program's hook.
//!
//! **Locks.** std holds a lock while hooks run, and `take_hook` waits for it. A hook may wait for a
//! task. So our hook is installed when a supervisor is created or a worker process begins. If a
//! thread that runs tasks finds it missing, a helper thread installs it, and is waited for with a
//! time limit. Worker processes use no helper thread, because a thread costs address space, which
//! may be limited.

use std::any::{Any, TypeId};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use parking_lot::ReentrantMutex;

use crate::fork;
use crate::sync::lock::Mutex;

thread_local! {
    /// The number of [`Watch`]es of this thread.
    static WATCHES: Cell<u32> = const { Cell::new(0) };
    /// The length of `RECORDS`, for a cheap check.
    static RECORDED: Cell<usize> = const { Cell::new(0) };
    static RECORDS: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

/// The maximum number of records, for functions that catch panics in a loop.
const MAX_RECORDS: usize = 16;

/// A panic as reported to the hook.
struct Record {
    payload: Payload,
    location: PanicLocation,
}

/// Where a panic happened.
#[derive(Clone, Default)]
pub(crate) struct PanicLocation {
    pub(crate) location: Option<String>,
    pub(crate) backtrace: Option<String>,
}

/// Identifies a payload.
#[derive(PartialEq)]
enum Payload {
    /// The text does not move when the payload is boxed.
    Text {
        address: usize,
        len: usize,
        hash: u64,
    },
    Other(TypeId),
}

impl Payload {
    fn of(payload: &(dyn Any + Send)) -> Payload {
        let text = payload.downcast_ref::<&'static str>().copied();
        match text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)) {
            Some(text) => {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                let address = text.as_ptr().addr();
                Payload::Text { address, len: text.len(), hash: hasher.finish() }
            }
            None => Payload::Other(payload.type_id()),
        }
    }
}

/// Records the panics of this thread while it exists.
pub(crate) struct Watch {
    /// The number of records that existed before.
    before: usize,
}

impl Watch {
    #[inline]
    pub(crate) fn begin() -> Watch {
        if MISSING.load(Ordering::Relaxed) {
            install();
        }
        WATCHES.set(WATCHES.get() + 1);
        Watch { before: RECORDED.get() }
    }

    /// Returns the location of the caught panic with this payload.
    #[cold]
    pub(crate) fn location_of(&self, payload: &(dyn Any + Send)) -> PanicLocation {
        let payload = Payload::of(payload);
        let found = RECORDS.try_with(|records| {
            let records = records.try_borrow().ok()?;
            let from = match payload {
                Payload::Text { .. } => 0,
                Payload::Other(_) => self.before.min(records.len()),
            };
            let mut known = records[from..].iter().filter(|record| record.payload == payload);
            let last = known.next_back()?;
            let is_certain = match payload {
                // The same constant text may have been raised from several locations.
                Payload::Text { .. } => {
                    known.all(|record| record.location.location == last.location.location)
                }
                Payload::Other(_) => known.next().is_none(),
            };
            Some(if is_certain { last.location.clone() } else { PanicLocation::default() })
        });
        found.ok().flatten().unwrap_or_default()
    }
}

impl Drop for Watch {
    #[inline]
    fn drop(&mut self) {
        WATCHES.set(WATCHES.get() - 1);
        if RECORDED.get() > self.before {
            truncate(self.before);
        }
    }
}

#[cold]
fn truncate(before: usize) {
    let _ = RECORDS.try_with(|records| {
        if let Ok(mut records) = records.try_borrow_mut() {
            records.truncate(before);
        }
    });
    RECORDED.set(before);
}

fn record(info: &PanicHookInfo<'_>) {
    if WATCHES.get() == 0 {
        return;
    }
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let location = PanicLocation { location: info.location().map(ToString::to_string), backtrace };
    let payload = Payload::of(info.payload());
    let _ = RECORDS.try_with(|records| {
        if let Ok(mut records) = records.try_borrow_mut() {
            if records.len() >= MAX_RECORDS {
                records.remove(0);
            }
            records.push(Record { payload, location });
            RECORDED.set(records.len());
        }
    });
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Our hook is not installed: the next watch installs it.
static MISSING: AtomicBool = AtomicBool::new(true);

/// Our hooks, by number and address. There is one, unless the program keeps some that it has
/// removed.
static CHAINED: Mutex<Vec<(u64, usize)>> = Mutex::new(Vec::new());

/// Our hook, which forwards to another one.
struct ChainedHook {
    number: u64,
    before: Hook,
}

impl ChainedHook {
    fn call(&self, info: &PanicHookInfo<'_>) {
        record(info);
        match FRAME.get() {
            Some(frame) => frame(&mut || (self.before)(info)),
            None => (self.before)(info),
        }
    }
}

/// Calls the hook of the program, which prints the panic.
static FRAME: OnceLock<fn(&mut dyn FnMut())> = OnceLock::new();

/// Has panics reported within `frame`, which must call its argument once.
#[cfg_attr(not(feature = "progress"), allow(dead_code))]
pub(crate) fn report_within(frame: fn(&mut dyn FnMut())) {
    let _ = FRAME.set(frame);
}

impl Drop for ChainedHook {
    /// The program has set another hook, or has removed this one.
    fn drop(&mut self) {
        if fork::is_copy() {
            // Forked processes run no tasks, and locks may be held by threads that don't exist.
            return;
        }
        CHAINED.lock().retain(|(number, _)| *number != self.number);
        if std::thread::panicking() {
            MISSING.store(true, Ordering::Relaxed);
        } else {
            chain();
        }
    }
}

fn address(hook: &Hook) -> usize {
    std::ptr::from_ref(&**hook).addr()
}

/// Installs our hook in front of the current one, unless that one is ours. Must not be called on a
/// panicking thread, where std forbids changing the hook.
fn chain() {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    /// std's own hook is installed between the two steps. Another thread would take it for the
    /// program's, and lose the real one. Reentrant, because replacing one of our hooks runs its
    /// destructor, which calls this function.
    static CHAINS: ReentrantMutex<()> = ReentrantMutex::new(());
    let _alone = CHAINS.lock();
    let before = std::panic::take_hook();
    let there = address(&before);
    if CHAINED.lock().iter().any(|(_, ours)| *ours == there) {
        return std::panic::set_hook(before);
    }
    let ours = ChainedHook { number: NEXT.fetch_add(1, Ordering::Relaxed), before };
    let number = ours.number;
    let hook: Hook = Box::new(move |info| ours.call(info));
    CHAINED.lock().push((number, address(&hook)));
    std::panic::set_hook(hook);
}

/// Whether hooks are installed without a helper thread.
static NO_HELPER_THREAD: AtomicBool = AtomicBool::new(false);

/// How the hook is installed if a thread that runs tasks finds it missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Install {
    /// By a helper thread, because that thread may hold the lock for which `set_hook` waits.
    ByHelperThread,
    /// By that thread itself, because a further thread costs address space.
    InPlace,
}

/// Installs our hook before there are tasks. `install` applies to later installations.
pub(crate) fn prepare(install: Install) {
    NO_HELPER_THREAD.fetch_or(install == Install::InPlace, Ordering::Relaxed);
    // The hook can't be changed on a panicking thread; the first task installs it.
    if !fork::is_copy() && !std::thread::panicking() && MISSING.load(Ordering::Relaxed) {
        chain();
        MISSING.store(false, Ordering::Relaxed);
    }
}

/// Installs our hook before a task runs.
#[cold]
fn install() {
    static INSTALLS: Mutex<()> = Mutex::new(());
    /// A running hook may be waiting for this very task, so the wait is limited.
    const LIMIT: Duration = Duration::from_secs(1);
    if std::thread::panicking() || fork::is_copy() {
        return;
    }
    let installs = INSTALLS.try_lock_for(LIMIT);
    if installs.is_none() || !MISSING.load(Ordering::Relaxed) {
        return;
    }
    let (done, is_done) = mpsc::channel::<()>();
    let elsewhere = move || {
        chain();
        drop(done);
    };
    let thread = std::thread::Builder::new().name("atasker hook".into());
    if NO_HELPER_THREAD.load(Ordering::Relaxed) || thread.spawn(elsewhere).is_err() {
        chain();
    } else {
        // An error means that it is done.
        let _ = is_done.recv_timeout(LIMIT);
    }
    // Cleared last: a thread that reads `false` may panic immediately and needs the hook.
    MISSING.store(false, Ordering::Relaxed);
}
