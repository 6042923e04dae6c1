//! The observers of one supervisor.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use super::interest;
use super::load::Listeners;
use super::observer::Observer;
use super::spans::Spans;
use crate::sync::lock::RwLock;
use crate::unwind::{Guarded, guarded};

/// When an observer learns of the begin and the end of a call in a worker process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promptness {
    /// At once, which costs a wake-up per call.
    AtOnce,
    /// When the program learns of it anyway.
    #[cfg_attr(not(any(feature = "metrics", feature = "dashboard")), allow(dead_code))]
    InTime,
}

type Entry = Arc<Guarded<Box<dyn Observer>>>;

/// The program is a node, or was one.
static HAS_NODES: AtomicBool = AtomicBool::new(false);

/// Returns whether some supervisor may be that of a node.
pub(super) fn has_nodes() -> bool {
    HAS_NODES.load(Ordering::Relaxed)
}

/// See the module documentation.
pub(crate) struct Observers {
    /// The id of the supervisor.
    pub(crate) supervisor: Arc<str>,
    /// The name of the node whose calls the tasks are.
    node: OnceLock<Arc<str>>,
    /// Which spans the tasks have.
    pub(crate) spans: Spans,
    /// Replaced as a whole, so that calls need no lock.
    list: RwLock<Arc<[(u64, Entry)]>>,
    /// What shows the load of the supervisor.
    pub(crate) load: Listeners,
    /// The number of entries of `list`.
    count: AtomicUsize,
    /// The number of these that are not of this crate.
    foreign: AtomicUsize,
    /// The number of observers, and other reasons, for which worker processes tell the begin and
    /// the end of calls at once.
    prompt: Arc<AtomicUsize>,
    /// A task had a span, so worker processes tell at once for good.
    prompt_for_spans: std::sync::Once,
    /// Called, without a lock, when `prompt` has become 0 or more than 0.
    on_prompt: Box<dyn Fn() + Send + Sync>,
}

impl Observers {
    pub(crate) fn new(
        supervisor: &str,
        spans: Spans,
        prompt: Arc<AtomicUsize>,
        on_prompt: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Observers {
            supervisor: supervisor.into(),
            node: OnceLock::new(),
            spans,
            list: RwLock::new(Arc::new([])),
            load: Listeners::new(),
            count: AtomicUsize::new(0),
            foreign: AtomicUsize::new(0),
            prompt,
            prompt_for_spans: std::sync::Once::new(),
            on_prompt: Box::new(on_prompt),
        })
    }

    /// Makes the tasks those of a node.
    #[cfg(feature = "remote")]
    pub(crate) fn set_node(&self, name: &str) {
        HAS_NODES.store(true, Ordering::Relaxed);
        let _ = self.node.set(name.into());
    }

    /// Returns the name of the node whose calls the tasks are. `None` if they are the program's own.
    pub(crate) fn node(&self) -> Option<&Arc<str>> {
        self.node.get()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Returns whether the calls about one task must not overlap. Observers of this crate cope with
    /// that.
    #[inline]
    pub(crate) fn need_order(&self) -> bool {
        self.foreign.load(Ordering::Relaxed) != 0
    }

    /// Calls `f` with each observer. A panic of one is contained.
    pub(crate) fn each(&self, mut f: impl FnMut(&dyn Observer)) {
        let list = Arc::clone(&self.list.read());
        for (_, observer) in list.iter() {
            let _inside = super::observer::enter();
            if !crate::unwind::contained(|| f(&***observer)) {
                crate::unwind::log!(
                    error,
                    supervisor = &*self.supervisor,
                    "an observer of a supervisor panicked"
                );
            }
        }
        // The last reference to an observer may be this one.
        guarded(|| drop(list));
    }

    /// Adds an observer until the returned guard is dropped.
    pub(crate) fn add(
        self: &Arc<Self>,
        observer: Box<dyn Observer>,
        promptness: Promptness,
    ) -> ObserverGuard {
        static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let key = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        if promptness == Promptness::AtOnce {
            self.foreign.fetch_add(1, Ordering::SeqCst);
            self.need_promptness();
        }
        let entry = (key, Arc::new(Guarded::new(observer)));
        let mut list = self.list.write();
        let longer: Arc<[_]> = list.iter().cloned().chain([entry]).collect();
        self.count.store(longer.len(), Ordering::Relaxed);
        let before = std::mem::replace(&mut *list, longer);
        drop(list);
        guarded(|| drop(before));
        interest::add_observer();
        ObserverGuard { end: Some(End::Remove { from: Arc::downgrade(self), key, promptness }) }
    }

    fn remove(&self, key: u64, promptness: Promptness) {
        let mut list = self.list.write();
        let shorter: Arc<[_]> = list.iter().filter(|(of, _)| *of != key).cloned().collect();
        if shorter.len() == list.len() {
            return;
        }
        self.count.store(shorter.len(), Ordering::Relaxed);
        let before = std::mem::replace(&mut *list, shorter);
        drop(list);
        interest::remove_observers(1);
        guarded(|| drop(before));
        if promptness == Promptness::AtOnce {
            self.foreign.fetch_sub(1, Ordering::SeqCst);
            if self.prompt.fetch_sub(1, Ordering::SeqCst) == 1 {
                (self.on_prompt)();
            }
        }
    }

    /// Makes worker processes tell the begin and the end of calls at once.
    fn need_promptness(&self) {
        if self.prompt.fetch_add(1, Ordering::SeqCst) == 0 {
            (self.on_prompt)();
        }
    }

    /// The same, for the spans of tasks in worker processes.
    pub(super) fn need_promptness_for_spans(&self) {
        self.prompt_for_spans.call_once(|| self.need_promptness());
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        let left = *self.count.get_mut();
        interest::remove_observers(left);
    }
}

/// Ends an observation when it is dropped. Returned by
/// [`Supervisor::observe`](crate::Supervisor::observe), and by `Supervisor::export_metrics` with
/// the feature `metrics`.
///
/// Calls of the observer that are under way on other threads may finish a moment later.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Observer, ObserverGuard, Supervisor};
/// struct Nothing;
/// impl Observer for Nothing {}
/// let sup = Supervisor::builder().build();
/// let guard: ObserverGuard = sup.observe(Nothing);
/// drop(guard); // ends the observation
/// ```
#[must_use = "dropping the guard ends the observation: call `keep()` to observe for the life of the supervisor"]
pub struct ObserverGuard {
    /// `None` if dropping the guard changes nothing.
    end: Option<End>,
}

/// How an observation ends.
enum End {
    /// By removing the observer.
    Remove { from: Weak<Observers>, key: u64, promptness: Promptness },
    /// By a call of what has added the observer.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    Call(Box<dyn FnOnce() + Send + Sync>),
}

impl ObserverGuard {
    /// Returns a guard of nothing.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn inert() -> Self {
        ObserverGuard { end: None }
    }

    /// Returns a guard that calls `end` when it is dropped.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn with_end(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        ObserverGuard { end: Some(End::Call(Box::new(end))) }
    }

    /// Leaves the observer in place for the life of the supervisor.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Observer, Supervisor};
    /// struct Nothing;
    /// impl Observer for Nothing {}
    /// let sup = Supervisor::builder().build();
    /// sup.observe(Nothing).keep();
    /// ```
    pub fn keep(mut self) {
        self.end = None;
    }
}

impl fmt::Debug for ObserverGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverGuard").finish_non_exhaustive()
    }
}

impl Drop for ObserverGuard {
    fn drop(&mut self) {
        match self.end.take() {
            Some(_) if crate::fork::is_copy() => {}
            Some(End::Remove { from, key, promptness }) => {
                if let Some(observers) = from.upgrade() {
                    observers.remove(key, promptness);
                }
            }
            Some(End::Call(end)) => end(),
            None => {}
        }
    }
}
