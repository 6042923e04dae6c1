//! Which results cause a retry: the default rule for `Err`, and the `retry_if` that replaces it?

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{Task, TaskBuilder, TaskError, background_task};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

type Outcome = Result<u32, String>;

fn fails(n: u32) -> Result<u32, String> {
    assert!(n != 0, "zero");
    Err(format!("{n} fails"))
}

#[background_task(retries = 2)]
fn on_thread(n: u32) -> Result<u32, String> {
    fails(n)
}

#[background_task(retries = 2)]
async fn on_loop(n: u32) -> Result<u32, String> {
    fails(n)
}

#[background_task(tt = "mp", retries = 2)]
fn in_process(n: u32) -> Result<u32, String> {
    fails(n)
}

#[background_task(tt = "mp", retries = 2)]
fn dies() -> Result<u32, String> {
    std::process::abort();
}

/// One builder per place.
fn builders(n: u32) -> [TaskBuilder<Outcome>; 3] {
    [on_thread::builder(n), on_loop::builder(n), in_process::builder(n)]
}

fn attempts<R: Send + 'static>(task: &Task<R>) -> u32 {
    let _ = task.wait();
    task.info().attempt
}

#[test]
fn err_is_retried_by_default() {
    for builder in builders(1) {
        let task = builder.start();
        assert_eq!(attempts(&task), 3, "{task:?}");
        assert_eq!(task.join().unwrap().unwrap_err(), "1 fails");
    }
}

#[test]
fn retry_if_replaces_default() {
    for builder in builders(1) {
        let task = builder.retry_if(|_| false).start();
        assert_eq!(attempts(&task), 1, "{task:?}");
        assert_eq!(task.join().unwrap().unwrap_err(), "1 fails");
    }
    for wanted in [1, 2] {
        for builder in builders(1) {
            let only = format!("{wanted} fails");
            let task = builder.retry_if(move |r| r.as_ref().is_err_and(|e| *e == only)).start();
            assert_eq!(attempts(&task), if wanted == 1 { 3 } else { 1 }, "{task:?}");
        }
    }
}

#[test]
fn task_error_is_always_retried() {
    for builder in builders(0) {
        let task = builder.retry_if(|_| false).start();
        assert_eq!(attempts(&task), 3, "{task:?}");
        assert!(task.join().unwrap_err().is_panic());
    }
    let task = dies::builder().retry_if(|_| false).start();
    assert_eq!(attempts(&task), 3);
    assert!(task.join().unwrap_err().is_worker_died());
}

#[test]
fn panicking_predicate_ends_retries() {
    for builder in builders(1) {
        let task = builder.retry_if(|_| panic!("no answer")).start();
        assert_eq!(attempts(&task), 1, "{task:?}");
        assert_eq!(task.join().unwrap().unwrap_err(), "1 fails");
    }
}

#[test]
fn repeatable_task_uses_only_own_predicate() {
    let runs = Arc::new(AtomicU32::new(0));
    for (wanted, expected) in [(false, 1), (true, 3)] {
        runs.store(0, Ordering::SeqCst);
        let counts = Arc::clone(&runs);
        let builder = TaskBuilder::repeatable(move || -> Outcome {
            counts.fetch_add(1, Ordering::SeqCst);
            Err("no".into())
        });
        let builder = if wanted { builder.retry_if(Result::is_err) } else { builder };
        assert!(builder.retries(2).start().join().unwrap().is_err());
        assert_eq!(runs.load(Ordering::SeqCst), expected);
    }
}

/// The fields of the events that report retries.
#[derive(Clone, Default)]
struct Report(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl<S: Subscriber> Layer<S> for Report {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let meta = event.metadata();
        if *meta.level() == Level::DEBUG && meta.target() == "atasker" {
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

#[test]
fn each_retry_is_logged() {
    let reported = Report::default();
    let subscriber = tracing_subscriber::registry().with(reported.clone());
    tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
    for (n, expected) in [(7, None), (0, Some("zero"))] {
        for (builder, tt) in builders(n).into_iter().zip(["thread", "async", "mp"]) {
            let name = format!("reported {n} {tt}");
            let task = builder.name(name.clone()).retry_delay(Duration::from_millis(1)).start();
            let id = task.id();
            let result: Result<Outcome, TaskError> = task.join();
            assert!(!matches!(result, Ok(Ok(_))));
            let all = reported.0.lock().unwrap().clone();
            let lines: Vec<_> = all.iter().filter(|line| line.contains(&name)).collect();
            let lines: Vec<_> = lines.iter().filter(|line| line.contains("task retries")).collect();
            assert_eq!(lines.len(), 2, "{all:?}");
            for (line, attempt) in lines.into_iter().zip(1..) {
                for field in [
                    format!("task={id}"),
                    format!("tt=\"{tt}\""),
                    "supervisor=default".to_owned(),
                    format!("attempt={attempt}"),
                    "pause=1ms".to_owned(),
                ] {
                    assert!(line.contains(&format!(" {field}")), "{field}: {line}");
                }
                assert_eq!(line.contains(" error="), expected.is_some(), "{line}");
                assert!(line.contains(expected.unwrap_or("")), "{line}");
            }
        }
    }
}
