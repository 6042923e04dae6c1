//! Whether anything observes tasks, in one word.
//!
//! tracing tells each callsite whether a subscriber is interested in it, and again whenever that
//! changes. The callsites here stand for all events and spans of tasks: the stages of a task check
//! one word of this module instead of asking tracing at each of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tracing_core::callsite::{self, Callsite, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::metadata::Kind;
use tracing_core::subscriber::Interest;
use tracing_core::{Level, Metadata};

use crate::unwind::guarded;

/// The bits of [`Probe`]s, and above them the number of observers of all supervisors and of threads
/// whose launches run their tasks.
static OBSERVED: AtomicUsize = AtomicUsize::new(0);

/// A subscriber wants spans at INFO.
const SPANS: usize = 1 << 0;
/// A subscriber wants events at DEBUG.
const DEBUG: usize = 1 << 1;
/// A subscriber wants events at TRACE.
const TRACE: usize = 1 << 2;
const OBSERVER: usize = 1 << 3;

/// Returns whether anything may observe tasks.
#[inline]
pub(crate) fn is_on() -> bool {
    // Relaxed: an observer sees what happens after its registration has returned, and a thread that
    // learns of that by any means also sees the count.
    OBSERVED.load(Ordering::Relaxed) != 0
}

/// Returns whether a subscriber may want spans of tasks.
pub(super) fn wants_spans() -> bool {
    OBSERVED.load(Ordering::Relaxed) & SPANS != 0
}

/// Returns whether a subscriber may want events at DEBUG.
pub(super) fn wants_events() -> bool {
    OBSERVED.load(Ordering::Relaxed) & DEBUG != 0
}

pub(crate) fn add_observer() {
    OBSERVED.fetch_add(OBSERVER, Ordering::SeqCst);
}

pub(crate) fn remove_observers(count: usize) {
    OBSERVED.fetch_sub(OBSERVER * count, Ordering::SeqCst);
}

/// A callsite without events: it only learns whether a subscriber is interested.
struct Probe {
    bit: usize,
    metadata: &'static Metadata<'static>,
}

impl Callsite for Probe {
    fn set_interest(&self, interest: Interest) {
        match interest.is_never() {
            true => OBSERVED.fetch_and(!self.bit, Ordering::Relaxed),
            false => OBSERVED.fetch_or(self.bit, Ordering::Relaxed),
        };
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata
    }
}

macro_rules! probe {
    ($probe:ident, $bit:expr, $name:literal, $level:expr, $kind:expr) => {
        static $probe: Probe = {
            static METADATA: Metadata<'static> = Metadata::new(
                $name,
                "atasker",
                $level,
                Some(file!()),
                Some(line!()),
                Some(module_path!()),
                FieldSet::new(
                    &["message", "task", "name", "tt", "supervisor"],
                    Identifier(&$probe),
                ),
                $kind,
            );
            Probe { bit: $bit, metadata: &METADATA }
        };
    };
}

probe!(SPAN, SPANS, "task", Level::INFO, Kind::SPAN);
probe!(EVENT, DEBUG, "event of a task", Level::DEBUG, Kind::EVENT);
probe!(QUEUED, TRACE, "task queued", Level::TRACE, Kind::EVENT);

/// Lets tracing tell the probes of its subscribers. Called before the first launch, without a lock,
/// because it asks the subscribers.
pub(crate) fn watch_subscribers() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        for probe in [&SPAN, &EVENT, &QUEUED] {
            guarded(|| callsite::register(probe));
        }
    }
}
