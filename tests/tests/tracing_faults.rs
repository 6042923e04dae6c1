//! What does a subscriber that panics or blocks do to tasks in worker processes? This test has its
//! own program because it sets the global subscriber.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use atasker::{Supervisor, background_task};
use atasker_tests::mp::{pool_of, supervisor};
use atasker_tests::{Gate, eventually};
use tracing::field::Empty;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, info, info_span};

static GATE: std::sync::LazyLock<Gate> = std::sync::LazyLock::new(Gate::new);
static PANICS: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static BLOCKED: AtomicBool = AtomicBool::new(false);

/// Panics in each of its methods, while `PANICS`, and blocks for the event `blocks`.
struct Faulty;

fn faults(metadata: Option<&Metadata<'_>>) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let is_ours = metadata.is_none_or(|metadata| metadata.target() != "atasker");
    if is_ours && PANICS.load(Ordering::Relaxed) {
        panic!("a subscriber panics");
    }
}

impl Subscriber for Faulty {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.target() == "panics in enabled" {
            faults(Some(metadata));
        }
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        faults(Some(span.metadata()));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {
        faults(None);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {
        faults(None);
    }
    fn event(&self, event: &Event<'_>) {
        faults(Some(event.metadata()));
        if event.metadata().target() == "blocks" {
            BLOCKED.store(true, Ordering::Relaxed);
            GATE.wait();
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
    fn try_close(&self, _: Id) -> bool {
        faults(None);
        false
    }
}

#[background_task(tt = "mp")]
fn uses_everything() -> u64 {
    let span = info_span!("a span", value = Empty);
    span.record("value", 1);
    span.in_scope(|| info!("an event"));
    info!(target: "panics in enabled", "an event");
    info_span!("another").follows_from(&span);
    drop(span);
    std::mem::forget(info_span!("left"));
    7
}

#[background_task(tt = "mp")]
fn blocks() {
    info!(target: "blocks", "this blocks the subscriber");
}

fn all_is_well(sup: &Supervisor) {
    for _ in 0..3 {
        assert_eq!(uses_everything::builder().supervisor(sup).start().join().unwrap(), 7);
    }
}

#[test]
fn faulty_subscriber_harms_no_task() {
    tracing::subscriber::set_global_default(Faulty).unwrap();
    let sup = supervisor(pool_of(1));
    all_is_well(&sup);
    let before = CALLS.load(Ordering::Relaxed);
    PANICS.store(true, Ordering::Relaxed);
    all_is_well(&sup);
    assert!(CALLS.load(Ordering::Relaxed) >= before + 3 * 5);
    PANICS.store(false, Ordering::Relaxed);
    all_is_well(&sup);
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);

    // While it blocks, other worker processes run tasks, and the task can be killed. It ends when the
    // subscriber returns.
    let blocked = blocks::builder().supervisor(&sup).start();
    eventually(|| BLOCKED.load(Ordering::Relaxed));
    all_is_well(&supervisor(pool_of(1)));
    blocked.kill().unwrap();
    GATE.open();
    let outcome = blocked.join();
    assert!(outcome.is_ok() || outcome.is_err_and(|error| error.is_canceled()));
    all_is_well(&sup);
}
