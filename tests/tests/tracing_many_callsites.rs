//! How many places in the code of worker processes does the program keep a description of? This
//! test has its own program because it uses all of them.

use std::sync::OnceLock;

use atasker::{Supervisor, background_task};
use atasker_tests::mp::{pool_of, supervisor, workers};
use atasker_tests::spans::Recorder;
use tracing::callsite::{Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::SubscriberExt;

/// A place that is made while the program runs.
struct Made(OnceLock<Metadata<'static>>);

impl Callsite for Made {
    fn set_interest(&self, _: Interest) {}
    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().expect("set when it is made")
    }
}

/// Emits an event at each of that many places.
#[background_task(tt = "mp")]
fn emits(prefix: &str, count: usize) {
    for n in 0..count {
        let made: &'static Made = Box::leak(Box::new(Made(OnceLock::new())));
        let name: &'static str = format!("{prefix} {n}").leak();
        let fields = FieldSet::new(&[], Identifier(made));
        let metadata = made.0.get_or_init(|| {
            Metadata::new(name, "made", Level::INFO, None, None, None, fields, Kind::EVENT)
        });
        Event::dispatch(metadata, &metadata.fields().value_set(&[]));
    }
}

#[test]
fn ten_thousand_places_are_kept() {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let made = || recorder.all(|event| event.target == "made").len();
    let reports = || {
        let is_report = |message: &str| message.contains("at 10000 places");
        recorder.all(|event| is_report(event.message())).len()
    };
    let run = |sup: &Supervisor, prefix: &str, count: usize| {
        emits::builder(prefix, count).supervisor(sup).start().join().unwrap();
    };
    let first = supervisor(pool_of(1));
    run(&first, "a", 6000);
    assert_eq!((made(), reports()), (6000, 0));
    // The same places, as another worker process describes them.
    let second = supervisor(pool_of(1));
    run(&second, "a", 6000);
    assert_eq!((made(), reports()), (12_000, 0));
    // Others: not all of them, because there are too many.
    run(&first, "b", 6000);
    assert_eq!((made(), reports()), (16_000, 1));
    run(&second, "c", 3000);
    assert_eq!((made(), reports()), (16_000, 1));
    // A worker process that has many places itself, and one that has those that are known.
    run(&second, "d", 3000);
    assert_eq!(made(), 16_000);
    let third = supervisor(pool_of(1));
    run(&third, "a", 100);
    run(&third, "b", 100);
    assert_eq!((made(), reports()), (16_200, 1));
    assert!([first, second, third].iter().all(|sup| workers(sup).len() == 1));
}
