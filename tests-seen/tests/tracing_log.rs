//! Do records of the crate `log` in a worker process reach the program's logger, and with
//! `tracing-log` its subscriber? This test has its own program because it sets the global logger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use atasker::{MpPoolConfig, background_task};
use atasker_tests::eventually;
use atasker_tests::mp::{run_pid, supervisor};
use atasker_tests::spans::Recorder;
use log::{LevelFilter, Log};
use tracing::info_span;
use tracing_log::LogTracer;
use tracing_subscriber::layer::SubscriberExt;

/// Counts how often it is shown.
static SHOWN: AtomicU64 = AtomicU64::new(0);

struct Shown;

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        SHOWN.fetch_add(1, Ordering::Relaxed);
        f.write_str("shown")
    }
}

#[background_task(tt = "mp")]
fn logs(round: u64) -> (u32, u64) {
    let line = line!() + 1;
    log::warn!("a warning, {round}");
    log::info!(target: "not::enabled", "refused, {round}");
    log::debug!("not wanted, {}", Shown);
    info_span!("inside").in_scope(|| log::info!(target: "my::target", "in a span, {round}"));
    std::thread::spawn(move || log::info!("in a thread, {round}")).join().unwrap();
    (line, SHOWN.load(Ordering::Relaxed))
}

/// A record as the logger receives it, and the span that is current then.
#[derive(Clone, Debug)]
struct Seen {
    message: String,
    level: log::Level,
    target: String,
    place: (Option<String>, Option<String>, Option<u32>),
    span: Option<u64>,
}

/// Passes everything but one target to `tracing-log`.
struct Logger {
    seen: Arc<Mutex<Vec<Seen>>>,
    tracer: LogTracer,
}

impl Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() != "not::enabled" && self.tracer.enabled(metadata)
    }
    fn log(&self, record: &log::Record<'_>) {
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        self.seen.lock().unwrap().push(Seen {
            message: record.args().to_string(),
            level: record.level(),
            target: record.target().to_owned(),
            place: (owned(record.module_path()), owned(record.file()), record.line()),
            span: tracing::Span::current().id().map(|id| id.into_u64()),
        });
        if record.args().to_string().starts_with("panics") {
            panic!("a logger panics");
        }
        self.tracer.log(record);
    }
    fn flush(&self) {}
}

/// A logger of a worker process, which is kept.
struct Own;

impl Log for Own {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, _: &log::Record<'_>) {
        SHOWN.fetch_add(1000, Ordering::Relaxed);
    }
    fn flush(&self) {}
}

fn sets_own_logger() {
    log::set_logger(&Own).expect("there is none");
    log::set_max_level(LevelFilter::Info);
}

#[background_task(tt = "mp")]
fn panics_the_logger() -> u32 {
    log::error!("panics the logger");
    7
}

#[test]
fn records_reach_the_logger_inside_of_the_span_of_their_task() {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
    let logger = Logger { seen: seen.clone(), tracer: LogTracer::new() };
    log::set_boxed_logger(Box::new(logger)).unwrap();
    log::set_max_level(LevelFilter::Info);
    let records = |message: &str| {
        let seen = seen.lock().unwrap();
        seen.iter().filter(|seen| seen.message == message).cloned().collect::<Vec<_>>()
    };

    let sup = supervisor(MpPoolConfig::new(1));
    let request = info_span!("request");
    let number = request.id().map(|id| id.into_u64());
    let task = request.in_scope(|| logs::builder(1).supervisor(&sup).start());
    let (line, shown) = task.join().unwrap();
    assert_eq!(shown, 0);
    let warning = &records("a warning, 1")[0];
    assert_eq!((warning.level, &*warning.target), (log::Level::Warn, module_path!()));
    let place = (Some(module_path!().into()), Some(file!().into()), Some(line));
    assert_eq!(warning.place, place);
    assert_eq!(warning.span, number);
    let inside = &records("in a span, 1")[0];
    assert_eq!(
        (inside.level, &*inside.target, inside.span),
        (log::Level::Info, "my::target", number)
    );
    assert_eq!(records("in a thread, 1")[0].span, None);
    assert!(records("refused, 1").is_empty());
    // As events, by tracing-log.
    let event = recorder.event("a warning, 1");
    assert_eq!((event.parent, event.level), (number, tracing::Level::WARN));
    assert_eq!(event.field("log.target"), module_path!());

    // A task without a span.
    logs::builder(2).supervisor(&sup).start().join().unwrap();
    assert_eq!(records("a warning, 2")[0].span, None);
    assert_eq!(recorder.event("a warning, 2").parent, None);

    // A new maximum level reaches running worker processes, and those that start later.
    log::set_max_level(LevelFilter::Debug);
    let other = supervisor(MpPoolConfig::new(1));
    assert_eq!(logs::builder(3).supervisor(&other).start().join().unwrap().1, 1);
    eventually(|| logs::builder(4).supervisor(&sup).start().join().unwrap().1 > 0);
    log::set_max_level(LevelFilter::Error);
    let mut before = 0;
    eventually(|| {
        let shown = logs::builder(5).supervisor(&sup).start().join().unwrap().1;
        std::mem::replace(&mut before, shown) == shown
    });

    // A logger that panics harms nothing, and one of the worker process is kept.
    assert_eq!(panics_the_logger::builder().supervisor(&sup).start().join().unwrap(), 7);
    assert_eq!(records("panics the logger").len(), 1);
    run_pid(&sup);
    let own = supervisor(MpPoolConfig::new(1).worker_init(sets_own_logger));
    assert_eq!(logs::builder(6).supervisor(&own).start().join().unwrap().1, 4000);
    assert!(records("a warning, 6").is_empty());
}
