//! In the parent: tells the worker processes what the program's subscribers want.
//!
//! A worker process is told the most verbose level at its start, and which of its callsites is not
//! wanted when it describes the callsite. If a filter is reloaded or another subscriber is
//! installed, tracing asks the subscribers again about every callsite. A callsite of this module,
//! the *probe*, is asked about last, and so learns of the change. tracing sets the new maximum
//! level a moment later, so the worker processes are told a millisecond after that, and once more
//! after half a second.
//!
//! The crate `log` reports no change of its maximum level, so that is compared whenever the reader
//! thread of a worker process is awake.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tracing_core::callsite::{self, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::metadata::Kind;
use tracing_core::subscriber::Interest;
use tracing_core::{Level, Metadata};

use super::callsites::Callsite;
use super::max_levels;
use crate::fork;
use crate::process::parent::peer::Peer;
use crate::sync::lock::Mutex;
use crate::time::timer;
use crate::unwind::guarded;
use crate::wire::frame::{Filter, MaxLevels};

/// What a worker process was told.
#[derive(Debug)]
pub(crate) struct Told {
    levels: MaxLevels,
    /// Its callsites, by their numbers, and whether they are wanted. `None` for one that is not
    /// forwarded.
    callsites: Vec<Option<(&'static Callsite, bool)>>,
}

impl Told {
    /// At the start of a worker process.
    pub(crate) fn new(levels: MaxLevels) -> Self {
        Told { levels, callsites: Vec::new() }
    }

    /// Returns what has changed, and takes it for told.
    fn changes(&mut self, levels: MaxLevels) -> Option<Filter> {
        let mut callsites = Vec::new();
        for (number, callsite) in self.callsites.iter_mut().enumerate() {
            if let Some((callsite, told)) = callsite
                && callsite.is_wanted() != *told
            {
                *told = !*told;
                callsites.push((number as u32, *told));
            }
        }
        if levels == self.levels && callsites.is_empty() {
            return None;
        }
        self.levels = levels;
        Some(Filter { levels, callsites })
    }
}

/// A worker process has described its next callsite, which is registered: tells it if that is not
/// wanted.
pub(crate) fn describe(peer: &Peer, callsite: Option<&'static Callsite>) {
    let mut told = peer.told.lock();
    let is_wanted = callsite.is_some_and(Callsite::is_wanted);
    let number = told.callsites.len() as u32;
    told.callsites.push(callsite.map(|callsite| (callsite, is_wanted)));
    if !is_wanted {
        // Under the lock, so that what the worker is told last is what it was found to be last.
        peer.post_filter(Filter { levels: told.levels, callsites: vec![(number, false)] });
    }
}

/// The worker processes that are told.
static WATCHED: Mutex<Vec<Weak<Peer>>> = Mutex::new(Vec::new());

/// A worker process is told of changes until this is dropped.
pub(crate) struct Watched {
    peer: Weak<Peer>,
    /// The maximum levels at the last check.
    levels: MaxLevels,
}

impl Watched {
    /// Tells the worker process of new maximum levels. Called by its reader thread whenever that is
    /// awake, because the crate `log` reports no changes.
    #[inline]
    pub(crate) fn check_levels(&mut self) {
        let levels = max_levels();
        if levels != self.levels {
            self.levels = levels;
            if let Some(peer) = self.peer.upgrade() {
                tell(&peer, levels);
            }
        }
    }
}

/// Tells a worker process of every change from now on, and of those since its settings were made.
pub(crate) fn watch(peer: &Arc<Peer>) -> Watched {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::AcqRel) {
        guarded(|| callsite::register(&PROBE));
    }
    let mut watched = WATCHED.lock();
    watched.push(Arc::downgrade(peer));
    let levels = max_levels();
    tell(peer, levels);
    Watched { peer: Arc::downgrade(peer), levels }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Waits for a thread that is telling, which holds a reference to the worker process.
        WATCHED.lock().retain(|peer| !Weak::ptr_eq(peer, &self.peer));
    }
}

fn tell(peer: &Peer, levels: MaxLevels) {
    let mut told = peer.told.lock();
    if let Some(filter) = told.changes(levels) {
        peer.post_filter(filter);
    }
}

fn tell_all() {
    let levels = max_levels();
    let watched = WATCHED.lock();
    for peer in &*watched {
        if let Some(peer) = peer.upgrade() {
            tell(&peer, levels);
        }
    }
}

struct Probe;

static PROBE: Probe = Probe;

static PROBE_METADATA: Metadata<'static> = Metadata::new(
    "filter of worker processes",
    "atasker",
    Level::TRACE,
    None,
    None,
    None,
    FieldSet::new(&[], Identifier(&PROBE)),
    Kind::HINT,
);

impl callsite::Callsite for Probe {
    fn set_interest(&self, _interest: Interest) {
        if fork::is_copy() {
            return;
        }
        // tracing's own locks are held here, so nothing else is done now.
        CHANGES.fetch_add(1, Ordering::AcqRel);
        tell_soon();
        tell_later();
    }

    fn metadata(&self) -> &Metadata<'_> {
        &PROBE_METADATA
    }
}

/// The number of times that the subscribers were asked again.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// Tells all worker processes once the maximum level is set.
fn tell_soon() {
    const PAUSE: Duration = Duration::from_millis(1);
    static DUE: AtomicBool = AtomicBool::new(false);
    if !DUE.swap(true, Ordering::AcqRel) {
        timer::at(Instant::now() + PAUSE, || {
            DUE.store(false, Ordering::Release);
            tell_all();
        });
    }
}

/// The same much later, because the thread that sets the maximum level may lose its CPU before.
fn tell_later() {
    const PAUSE: Duration = Duration::from_millis(500);
    static DUE: AtomicBool = AtomicBool::new(false);
    if !DUE.swap(true, Ordering::AcqRel) {
        let changes = CHANGES.load(Ordering::Acquire);
        timer::at(Instant::now() + PAUSE, move || {
            DUE.store(false, Ordering::Release);
            tell_all();
            if CHANGES.load(Ordering::Acquire) != changes {
                tell_later();
            }
        });
    }
}
