//! Does each attempt in a worker process have a span, with what it opens there inside? This test
//! has its own program because it sets the global subscriber.

use std::time::Duration;

use atasker::{MpPoolConfig, Spans, Supervisor, TaskError, background_task};
use atasker_tests::spans::{Entry, Recorder};
use tracing::{Level, info, info_span};

fn supervisor() -> Supervisor {
    Recorder::global();
    Supervisor::builder().spans(Spans::PerTask).mp_pool(MpPoolConfig::new(1)).build()
}

/// The spans of the attempts of a task.
fn attempts(id: atasker::TaskId) -> Vec<Entry> {
    let id = id.to_string();
    Recorder::global().all(|entry| entry.name == "task" && entry.id != 0 && entry.field("id") == id)
}

#[background_task(tt = "mp", name = "digests")]
fn opens_a_span(n: u64) -> u32 {
    info!(n, "at once");
    info_span!("step", n).in_scope(|| info!(n, "in a step"));
    std::process::id()
}

#[test]
fn what_a_task_opens_is_inside_the_span_of_its_attempt() {
    let sup = supervisor();
    for n in 0..20 {
        let request = info_span!("request", n);
        let task = request.in_scope(|| opens_a_span::builder(n).supervisor(&sup).start());
        let id = task.id();
        let worker = task.join().unwrap();
        let [attempt] = &attempts(id)[..] else { panic!("{:?}", attempts(id)) };
        assert_eq!(attempt.parent, request.id().map(|id| id.into_u64()));
        assert_eq!((attempt.level, &*attempt.target), (Level::INFO, "atasker"));
        let fields = ["name", "tt", "priority", "attempt", "otel.name", "outcome"];
        let values = fields.map(|name| attempt.field(name));
        assert_eq!(values, ["digests", "mp", "normal", "1", "digests", "ok"]);
        assert_eq!(attempt.field("otel.status_code"), "OK");
        assert_eq!(attempt.field("worker"), worker.to_string());
        assert!(attempt.is_closed && attempt.entered == 0, "{attempt:?}");

        let n = n.to_string();
        let steps = Recorder::global().all(|entry| entry.name == "step" && entry.field("n") == n);
        let step = &steps[0];
        assert_eq!(step.parent, Some(attempt.id));
        let event = |text: &str| {
            let found =
                Recorder::global().all(|entry| entry.message() == text && entry.field("n") == n);
            found[0].clone()
        };
        assert_eq!(event("at once").parent, Some(attempt.id));
        assert_eq!(event("in a step").parent, Some(step.id));
    }
}

#[background_task(tt = "mp", retries = 1)]
fn dies() {
    info_span!("left open").in_scope(|| std::process::exit(3));
}

#[test]
fn each_attempt_has_its_own_span() {
    let sup = supervisor();
    let request = info_span!("request");
    let delay = Duration::from_millis(20);
    let task = request.in_scope(|| dies::builder().delay(delay).supervisor(&sup).start());
    let id = task.id();
    let Err(TaskError::WorkerDied(death)) = task.join() else { panic!("it has died") };
    let [first, second] = &attempts(id)[..] else { panic!("{:?}", attempts(id)) };
    for (attempt, number) in [(first, "1"), (second, "2")] {
        assert_eq!(attempt.parent, request.id().map(|id| id.into_u64()));
        let values = ["attempt", "outcome", "otel.status_code"].map(|name| attempt.field(name));
        assert_eq!(values, [number, "worker_died", "ERROR"]);
        assert!(attempt.is_closed);
        let left = Recorder::global().all(|entry| {
            entry.name == "left open" && entry.parent == Some(attempt.id) && entry.is_closed
        });
        assert_eq!(left.len(), 1);
    }
    assert_eq!(second.field("worker"), death.pid().to_string());
}

#[test]
fn task_without_a_span_opens_roots() {
    let sup = supervisor();
    let request = info_span!("request");
    let task = request.in_scope(|| opens_a_span::builder(77).span(false).supervisor(&sup).start());
    let id = task.id();
    task.join().unwrap();
    assert!(attempts(id).is_empty());
    let step = Recorder::global().all(|entry| entry.name == "step" && entry.field("n") == "77");
    assert_eq!(step[0].parent, None);
}
