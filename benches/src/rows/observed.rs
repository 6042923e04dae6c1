//! The cost of being observed: T1 and P1 with nothing, with an observer, with metrics, with spans,
//! with a dashboard.
//!
//! Observers, recorders and subscribers are of the whole process, so each repetition is a process:
//! a copy of this program, which performs one row in one way and prints the figure.

use std::process::{Command, Stdio};
use std::time::Instant;

use atasker::{MpPoolConfig, Observer, PoolConfig, Spans, Supervisor, background_task};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::measure::{Contender, Row};
#[cfg(feature = "peers")]
use crate::peers::exporters as metrics;
use crate::pools::threads::THREADS;
use crate::rows::processes::RATE as CALLS;
use crate::rows::threads::RATE as TASKS;

/// Metrics and dashboards, which need the feature `peers`.
#[cfg(not(feature = "peers"))]
mod metrics {
    pub const NAMES: [&str; 0] = [];

    pub fn export(_way: &str, _sup: &atasker::Supervisor) {}
}

/// The first argument of a copy of this program.
const COPY: &str = "--observed-copy";

const NOTHING: &str = "nothing";
const OBSERVER: &str = "observer";
const SPANS: &str = "spans";

/// All rows of this module.
pub fn rows() -> Vec<Row> {
    vec![
        Row::new("O1", "T1, observed: 200k empty tasks", TASKS, || contenders("O1")),
        Row::new("O2", "P1, observed: 200k calls of add(u64, u64)", CALLS, || contenders("O2")),
    ]
}

/// One contender per way. The ratio of each is that of nothing to it.
fn contenders(row: &'static str) -> Vec<Contender> {
    let run = move |way: &'static str| move || move || vec![in_copy(row, way)];
    let mut all = vec![Contender::ours("atasker, observed by nothing", run(NOTHING))];
    all.push(Contender::peer(OBSERVER, run(OBSERVER)));
    all.extend(metrics::NAMES.into_iter().map(|name| Contender::peer(name, run(name))));
    all.push(Contender::peer(SPANS, run(SPANS)));
    all
}

/// Performs a row in a copy of this program.
fn in_copy(row: &str, way: &str) -> f64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args([COPY, row, way])
        .stderr(Stdio::inherit())
        .output()
        .expect("a copy of this program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{row}, {way}: {}: {text}", output.status))
}

/// Does not return if this process is such a copy.
pub fn serve() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [copy, row, way] = &arguments[..]
        && copy == COPY
    {
        let sup = Supervisor::builder().id("bench");
        let sup = sup.thread_pool(PoolConfig::new(THREADS)).mp_pool(MpPoolConfig::new(2));
        let spans = if way == SPANS { Spans::PerTask } else { Spans::Inherit };
        let sup = sup.spans(spans).build();
        match &**way {
            NOTHING => {}
            OBSERVER => sup.observe(Ignores).keep(),
            SPANS => tracing::subscriber::set_global_default(Ignores).expect("there is no other"),
            way => metrics::export(way, &sup),
        }
        let run = || match &**row {
            "O1" => tasks(&sup),
            _ => calls(&sup),
        };
        run();
        println!("{}", run());
        std::process::exit(0);
    }
}

const COUNT: u64 = 200_000;

/// Millions of tasks per second.
fn tasks(sup: &Supervisor) -> f64 {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..COUNT).map(|i| sup.spawn(move || i)).collect();
    let sum: u64 = tasks.into_iter().map(|task| task.join().expect("it does not fail")).sum();
    let time = begin.elapsed();
    assert_eq!(sum, COUNT * (COUNT - 1) / 2);
    COUNT as f64 / time.as_secs_f64() / 1e6
}

#[background_task(tt = "mp")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Thousands of calls per second.
fn calls(sup: &Supervisor) -> f64 {
    let begin = Instant::now();
    let tasks: Vec<_> =
        (0..COUNT).map(|i| add::builder(i, i + 1).supervisor(sup).start()).collect();
    for (i, task) in (0..).zip(tasks) {
        assert_eq!(task.join().expect("it does not fail"), 2 * i + 1);
    }
    COUNT as f64 / begin.elapsed().as_secs_f64() / 1e3
}

/// Observes everything, and wants INFO, and does nothing with it.
struct Ignores;

impl Observer for Ignores {}

impl Subscriber for Ignores {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
