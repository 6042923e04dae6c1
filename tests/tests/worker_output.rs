//! What worker processes print, as `tracing` events of the program.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;

use atasker::{MpPoolConfig, Supervisor, TaskId, WorkerStdio, background_task};
use atasker_tests::{FAR, Watchdog, eventually};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    level: tracing::Level,
    worker: u32,
    task: String,
    stream: String,
    text: String,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

struct Collect;

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut take = |key| fields.0.remove(key).unwrap_or_default();
        let stream = take("stream");
        if event.metadata().target() == "atasker" && !stream.is_empty() {
            LINES.lock().unwrap().push(Line {
                level: *event.metadata().level(),
                worker: take("worker").parse().unwrap(),
                task: take("task"),
                text: take("message"),
                stream,
            });
        }
    }
}

fn supervisor(workers: usize) -> Supervisor {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Collect);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    Supervisor::builder().mp_pool(MpPoolConfig::new(workers).stdio(WorkerStdio::Log)).build()
}

/// What a task has printed, as (level, worker, stream, text).
fn lines_of(id: TaskId) -> Vec<Line> {
    let id = id.to_string();
    LINES.lock().unwrap().iter().filter(|line| line.task == id).cloned().collect()
}

fn texts(lines: &[Line], stream: &str) -> Vec<String> {
    let of_stream = lines.iter().filter(|line| line.stream == stream);
    of_stream.map(|line| line.text.clone()).collect()
}

#[background_task(tt = "mp")]
fn prints(name: &str) -> u32 {
    println!("out of {name}");
    eprintln!("err of {name}");
    print!("and a half");
    std::process::id()
}

#[test]
fn lines_have_worker_task_stream_and_level() {
    let _watchdog = Watchdog::new("lines", FAR);
    let sup = supervisor(2);
    let tasks: Vec<_> =
        (0..100).map(|n| prints::builder(&format!("{n}")).supervisor(&sup).start()).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let id = task.id();
        let worker = task.join().unwrap();
        // They are there once the task has ended.
        let lines = lines_of(id);
        assert_eq!(texts(&lines, "stdout")[0], format!("out of {n}"));
        assert_eq!(texts(&lines, "stderr"), [format!("err of {n}")]);
        assert!(lines.iter().all(|line| line.worker == worker));
        for line in lines {
            let level =
                if line.stream == "stdout" { tracing::Level::INFO } else { tracing::Level::WARN };
            assert_eq!(line.level, level);
        }
    }
    // What has no line's end comes when the worker writes the next one, or ends.
    let before = prints::builder("a").supervisor(&sup).start();
    let id = before.id();
    before.join().unwrap();
    drop(sup);
    eventually(|| texts(&lines_of(id), "stdout") == ["out of a", "and a half"]);
}

#[background_task(tt = "mp")]
fn prints_much(lines: usize, then_die: bool) -> u32 {
    for n in 0..lines {
        println!("{n} {}", "x".repeat(n % 500));
    }
    if then_die {
        std::process::abort();
    }
    std::process::id()
}

/// More than a pipe holds, and to the last line.
#[test]
fn nothing_is_lost_at_a_workers_death() {
    let _watchdog = Watchdog::new("a death", FAR);
    let sup = supervisor(1);
    for die in [true, false] {
        let task = prints_much::builder(5_000, die).supervisor(&sup).start();
        let id = task.id();
        assert_eq!(task.join().is_err(), die);
        let expected: Vec<String> =
            (0..5_000).map(|n| format!("{n} {}", "x".repeat(n % 500))).collect();
        assert_eq!(texts(&lines_of(id), "stdout"), expected);
    }
}

#[background_task(tt = "mp")]
fn prints_a_long_line(bytes: usize) {
    std::io::stdout().write_all(&vec![b'y'; bytes]).unwrap();
    println!();
}

#[test]
fn a_long_line_comes_in_pieces() {
    let _watchdog = Watchdog::new("a long line", FAR);
    let sup = supervisor(1);
    let task = prints_a_long_line::builder(300_000).supervisor(&sup).start();
    let id = task.id();
    task.join().unwrap();
    let pieces = texts(&lines_of(id), "stdout");
    assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() <= 16 * 1024));
    assert_eq!(pieces.concat(), "y".repeat(300_000));
}

#[background_task(tt = "mp")]
fn closes_its_output() -> bool {
    // SAFETY: descriptors 1 and 2 belong to nobody who would miss them here.
    unsafe { libc::close(1) == 0 && libc::close(2) == 0 }
}

#[test]
fn a_task_may_close_its_output() {
    let _watchdog = Watchdog::new("closed output", FAR);
    let sup = supervisor(1);
    assert!(closes_its_output::builder().supervisor(&sup).start().join().unwrap());
    let task = prints::builder("nothing").supervisor(&sup).start();
    let id = task.id();
    task.join().unwrap_or_default();
    assert_eq!(lines_of(id), []);
}
