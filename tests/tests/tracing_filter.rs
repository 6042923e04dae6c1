//! Do the spans and events of worker processes pass the program's filter, are those that it never
//! wants not even made in the worker process, and does a new filter reach worker processes that
//! run? This test has its own program because it sets the global subscriber.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use atasker::{Supervisor, background_task};
use atasker_tests::eventually;
use atasker_tests::mp::{pool_of, run_pid, supervisor};
use atasker_tests::spans::Recorder;
use tracing::{debug, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, reload};

/// Counts how often it is shown. An event that is not sent does not show its fields.
struct Shown(&'static AtomicU64);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shown {} times", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Emits an event of each kind, and returns how often their fields were shown up to now.
#[background_task(tt = "mp")]
fn emits(round: u64) -> [u64; 3] {
    static SHOWN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
    info!(target: "wanted", round, shown = ?Shown(&SHOWN[0]));
    info!(target: "other", round, shown = ?Shown(&SHOWN[1]));
    debug!(target: "wanted", round, shown = ?Shown(&SHOWN[2]));
    SHOWN.each_ref().map(|shown| shown.load(Ordering::Relaxed))
}

#[background_task(tt = "mp")]
fn opens(round: u64) {
    info_span!(target: "other", "unwanted", round).in_scope(|| {
        info!(target: "wanted", round, "in the unwanted span");
        info_span!(target: "wanted", "inner", round);
    });
}

#[test]
fn filter_holds_in_worker_processes() {
    let (filter, handle) = reload::Layer::new(EnvFilter::new("wanted=info,atasker=info"));
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(filter).with(recorder.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let set = |filter: &str| handle.reload(EnvFilter::new(filter)).unwrap();
    let sup = supervisor(pool_of(1));
    let worker = run_pid(&sup);

    let mut round = 0;
    let mut run = |sup: &Supervisor| {
        round += 1;
        let shown = emits::builder(round).supervisor(sup).start().join().unwrap();
        let seen = recorder.all(|entry| entry.field("round") == round.to_string());
        let seen: Vec<_> = seen.iter().map(|event| (event.target.clone(), event.level)).collect();
        (shown, seen)
    };
    let wanted = ("wanted".to_owned(), tracing::Level::INFO);
    let debug = ("wanted".to_owned(), tracing::Level::DEBUG);
    let other = ("other".to_owned(), tracing::Level::INFO);

    // The level of the last one is never wanted. The other two are sent once.
    assert_eq!(run(&sup), ([1, 1, 0], vec![wanted.clone()]));
    // Whether the second one is wanted arrives soon after that.
    let mut before = run(&sup).0;
    eventually(|| {
        let (shown, seen) = run(&sup);
        assert_eq!((shown[0], shown[2], &seen), (before[0] + 1, 0, &vec![wanted.clone()]));
        std::mem::replace(&mut before, shown)[1] == shown[1]
    });
    let shown = run(&sup).0;
    assert_eq!(run(&sup).0, [shown[0] + 1, shown[1], 0]);

    // A filter that wants everything.
    set("debug");
    eventually(|| run(&sup).1 == [wanted.clone(), other.clone(), debug.clone()]);
    // One that wants nothing: nothing more is sent.
    set("off");
    assert!(run(&sup).1.is_empty());
    let mut before = run(&sup).0;
    eventually(|| std::mem::replace(&mut before, run(&sup).0) == before);
    assert_eq!(run(&sup), (before, vec![]));
    // By level, after the callsites have been known for long.
    set("wanted=debug,other=warn,atasker=info");
    eventually(|| run(&sup).1 == [wanted.clone(), debug.clone()]);
    // A worker process that starts later knows the filter.
    let sup = supervisor(pool_of(1));
    let (shown, seen) = run(&sup);
    assert_eq!((shown, seen), ([1, 1, 1], vec![wanted.clone(), debug]));

    // What is inside of an unwanted span belongs to its parent.
    let request = info_span!(target: "wanted", "request");
    for round in ["1", "2"] {
        let task = opens::builder(round.parse().unwrap()).supervisor(&sup);
        request.in_scope(|| task.start()).join().unwrap();
        let parent = request.id().map(|id| id.into_u64());
        assert_eq!(recorder.spans("unwanted").len(), 0);
        let mine = recorder.all(|entry| {
            entry.field("round") == round
                && (entry.name == "inner" || entry.message() == "in the unwanted span")
        });
        assert_eq!(mine.len(), 2);
        assert!(mine.iter().all(|entry| entry.parent == parent), "{mine:#?}");
    }

    // Who does not want spans of the level INFO of atasker gets no parents.
    set("wanted=debug");
    let task = request.in_scope(|| opens::builder(3).supervisor(&sup).start());
    task.join().unwrap();
    let inner = recorder.spans("inner");
    assert_eq!((inner.len(), inner[2].parent), (3, None));
    assert_eq!(recorder.events("in the unwanted span")[2].parent, None);
    assert_ne!(run_pid(&sup), worker);
}
