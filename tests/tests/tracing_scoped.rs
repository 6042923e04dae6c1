//! Which subscriber receives the spans and events of a worker process, where there are several?
//! This test has its own program because the subscribers of a program have one maximum level.

use atasker::background_task;
use atasker_tests::mp::{pool_of, supervisor};
use atasker_tests::spans::Recorder;
use tracing::{info, info_span};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;

#[background_task(tt = "mp")]
fn emits(of: &str) {
    info_span!(target: "tests", "opened", of).in_scope(|| info!(target: "tests", of, "emitted"));
}

/// No subscriber is the global default here, except for the last part.
#[test]
fn subscriber_of_the_launch_receives() {
    let sup = supervisor(pool_of(1));
    let recorders = [Recorder::default(), Recorder::default()];
    for name in ["first", "second"] {
        let threads = recorders.clone().map(|recorder| {
            let sup = sup.clone();
            let launches = move || {
                let subscriber = tracing_subscriber::registry().with(recorder.clone());
                tracing::subscriber::with_default(subscriber, || {
                    let of = format!("{name} {:?}", std::thread::current().id());
                    let request = info_span!(target: "tests", "request", of = &*of);
                    let task = request.in_scope(|| emits::builder(&of).supervisor(&sup).start());
                    task.join().unwrap();
                    let mine = recorder.all(|entry| entry.field("of") == of);
                    let names: Vec<_> = mine.iter().map(|entry| entry.parent).collect();
                    let ids: Vec<_> = mine.iter().map(|entry| Some(entry.id)).collect();
                    assert_eq!(names, [None, ids[0], ids[1]]);
                });
            };
            std::thread::spawn(launches)
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    // Each has seen its own two only.
    for recorder in recorders {
        assert_eq!(recorder.all(|entry| entry.target == "tests").len(), 2 * 3);
    }

    // Without a span, the default of the program receives.
    let (all, infos, spans) = (Recorder::default(), Recorder::default(), Recorder::default());
    let subscriber = tracing_subscriber::registry()
        .with(all.clone().with_filter(filter_fn(|metadata| metadata.target() == "tests")))
        .with(infos.clone().with_filter(LevelFilter::WARN))
        .with(spans.clone().with_filter(filter_fn(|metadata| metadata.is_span())));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    for round in 1..4 {
        emits::builder("global").supervisor(&sup).start().join().unwrap();
        let counts = [&all, &infos, &spans].map(|recorder| recorder.all(|_| true).len());
        assert_eq!(counts, [2 * round, 0, round]);
    }
    let opened = all.spans("opened");
    let events = all.events("emitted");
    assert!(opened.iter().zip(&events).all(|(span, event)| event.parent == Some(span.id)));
}
