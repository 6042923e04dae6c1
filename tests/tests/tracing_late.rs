//! What if the program sets its subscriber after its worker processes were started, and what if a
//! worker process has its own? This test has its own program because it sets the global
//! subscriber.

use std::sync::atomic::{AtomicU64, Ordering};

use atasker::background_task;
use atasker_tests::events::subscriber;
use atasker_tests::eventually;
use atasker_tests::mp::{pool_of, run_pid, supervisor};
use atasker_tests::spans::Recorder;
use tracing::{Event, debug, info, info_span};
use tracing_subscriber::layer::SubscriberExt;

/// The events that the worker process's own subscriber was told.
static OWN: AtomicU64 = AtomicU64::new(0);

fn sets_own_subscriber() {
    let on_event = |_: &Event<'_>| {
        OWN.fetch_add(1, Ordering::Relaxed);
    };
    let own = subscriber(|_| true, on_event);
    tracing::subscriber::set_global_default(own).expect("there is none");
}

#[background_task(tt = "mp")]
fn emits(round: u64) -> u64 {
    info_span!("a span", round).in_scope(|| debug!(round, "an event"));
    OWN.load(Ordering::Relaxed)
}

/// Uses a subscriber for one event only.
#[background_task(tt = "mp")]
fn emits_to_another() -> u64 {
    let seen = std::sync::Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    let on_event = move |_: &Event<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let other = subscriber(|_| true, on_event);
    tracing::subscriber::with_default(other, || info!("for the other subscriber"));
    info!("for the program");
    seen.load(Ordering::Relaxed)
}

#[test]
fn subscriber_that_is_set_later_reaches_worker_processes() {
    let plain = supervisor(pool_of(1));
    let own = supervisor(pool_of(1).worker_init(sets_own_subscriber));
    let pids = (run_pid(&plain), run_pid(&own));
    assert_eq!(emits::builder(0).supervisor(&plain).start().join().unwrap(), 0);
    assert_eq!(emits::builder(0).supervisor(&own).start().join().unwrap(), 1);

    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let request = info_span!("request");
    let mut round = 0;
    eventually(|| {
        round += 1;
        let task = request.in_scope(|| emits::builder(round).supervisor(&plain).start());
        assert_eq!(task.join().unwrap(), 0);
        !recorder.events("an event").is_empty()
    });
    let span = recorder.span("a span");
    assert_eq!(span.parent, request.id().map(|id| id.into_u64()));
    assert_eq!(recorder.event("an event").parent, Some(span.id));

    // The worker process that has a subscriber keeps it, and forwards nothing.
    for n in 0..5 {
        assert_eq!(emits::builder(n).supervisor(&own).start().join().unwrap(), n + 2);
        emits::builder(n).supervisor(&plain).start().join().unwrap();
    }
    assert_eq!(recorder.events("an event").len(), 6);
    assert_eq!((run_pid(&plain), run_pid(&own)), pids);

    // A task may have a subscriber for a while.
    for _ in 0..2 {
        assert_eq!(emits_to_another::builder().supervisor(&plain).start().join().unwrap(), 1);
    }
    assert_eq!(recorder.events("for the other subscriber").len(), 0);
    assert_eq!(recorder.events("for the program").len(), 2);
}
