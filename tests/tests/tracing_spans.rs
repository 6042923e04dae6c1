//! Do the spans and events of a worker process reach the program's subscriber, with the right
//! parents, places and fields, and are they closed in time? This test has its own program because
//! it sets the global subscriber.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use atasker::{Supervisor, Task, TaskBuilder, TaskContext, background_task};
use atasker_tests::mp::{pool_of, supervisor, until_stopped};
use atasker_tests::spans::Recorder;
use tracing::field::Empty;
use tracing::{Instrument, Level, Span, debug_span, error_span, info, info_span, instrument, warn};

/// A pool with one worker process, which starts after the subscriber was set.
fn one() -> Supervisor {
    Recorder::global();
    supervisor(pool_of(1))
}

/// Launches a task inside of a span with this name, and returns it with the number of the span.
fn inside<R, I, O>(name: &str, launch: impl FnOnce() -> Task<R, I, O>) -> (Task<R, I, O>, u64) {
    let span = info_span!("request", name);
    let number = span.id().expect("it is enabled").into_u64();
    (span.in_scope(launch), number)
}

fn is_closed(number: u64, name: &str) -> bool {
    let is_ours = |span: &atasker_tests::spans::Entry| {
        span.id == number && span.name == "request" && span.field("name") == name
    };
    let found = Recorder::global().all(is_ours);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].is_closed
}

#[background_task(tt = "mp")]
fn opens_spans() -> (u32, u32) {
    let (line, outer) = (line!(), error_span!(target: "my::target", "outer", n = 7u8));
    outer.in_scope(|| {
        debug_span!("inner").in_scope(|| warn!(target: "my::events", n = 8, "in the inner span"));
        info!("in the outer span");
    });
    info!("in no span");
    (line, std::process::id())
}

#[test]
fn spans_and_events_are_children_of_the_span_of_the_launch() {
    let sup = one();
    let (task, request) = inside("children", || opens_spans::builder().supervisor(&sup).start());
    let id = task.id().to_string();
    let (line, worker) = task.join().unwrap();

    let outer = Recorder::global().span("outer");
    assert_eq!(
        (outer.parent, outer.level, &*outer.target),
        (Some(request), Level::ERROR, "my::target")
    );
    assert_eq!((outer.file.as_deref(), outer.line), (Some(file!()), Some(line)));
    assert_eq!(outer.module_path.as_deref(), Some(module_path!()));
    assert_eq!(outer.typed("n"), ("u64", "7"));
    let inner = Recorder::global().span("inner");
    assert_eq!(
        (inner.parent, inner.level, &*inner.target),
        (Some(outer.id), Level::DEBUG, module_path!())
    );
    for span in [&outer, &inner] {
        assert!(span.is_closed && span.entered == 0, "{span:?}");
        assert_eq!(span.fields.len(), usize::from(span.name == "outer"));
    }

    let parents =
        [("in the inner span", inner.id), ("in the outer span", outer.id), ("in no span", request)];
    for (message, parent) in parents {
        let event = Recorder::global().event(message);
        assert_eq!(event.parent, Some(parent), "{event:?}");
        assert_eq!(event.typed("task"), ("debug", &*id));
        assert_eq!(event.typed("worker"), ("u64", &*worker.to_string()));
        assert_eq!(event.file.as_deref(), Some(file!()));
    }
    let event = Recorder::global().event("in the inner span");
    assert_eq!(
        (event.level, &*event.target, event.typed("n")),
        (Level::WARN, "my::events", ("i64", "8"))
    );
    // The task held the last reference to the span of its launch.
    assert!(is_closed(request, "children"));
}

#[test]
fn events_of_task_without_a_span_have_no_parent() {
    #[background_task(tt = "mp")]
    fn emits() {
        info_span!("alone").in_scope(|| info!("emitted in a span"));
        info!("emitted in no span");
    }
    let sup = one();
    let task = emits::builder().supervisor(&sup).start();
    let id = task.id().to_string();
    task.join().unwrap();
    assert_eq!(Recorder::global().span("alone").parent, None);
    assert_eq!(
        Recorder::global().event("emitted in a span").parent,
        Some(Recorder::global().span("alone").id)
    );
    let event = Recorder::global().event("emitted in no span");
    assert_eq!((event.parent, event.field("task")), (None, &*id));
}

#[derive(Debug)]
struct Outer(Inner);

#[derive(Debug)]
struct Inner;

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the outer error")
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inner error")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl std::error::Error for Inner {}

fn records_every_type() {
    let error: &(dyn std::error::Error + 'static) = &Outer(Inner);
    let span = info_span!(
        "types",
        a = -1i8,
        b = u64::MAX,
        c = i128::MIN,
        d = u128::MAX,
        e = 1.5f32,
        f = true,
        g = "a \"text\"",
        h = %"a \"text\"",
        i = ?"a \"text\"",
        j = error,
        k = None::<u32>,
        l = Empty,
        never = Empty,
    );
    span.record("l", 99u16);
    span.record("a", "another type");
    info!(
        parent: &span,
        a = -1i8, b = u64::MAX, c = i128::MIN, d = u128::MAX, e = 1.5f32, f = true,
        g = "a \"text\"", h = %"a \"text\"", i = ?"a \"text\"", j = error, k = Some(3u32),
        "the message: {}", 7
    );
    info!(message = "a message that is a string", r#type = 1, dotted.name = 2);
    info!(raw = b"bytes".as_slice(), "a message");
}

#[background_task(tt = "mp", name = "types in a worker process")]
fn records_every_type_there() {
    records_every_type();
}

/// The same as in this process.
#[test]
fn fields_keep_their_types() {
    let sup = one();
    let there = || {
        let task = records_every_type_there::builder().supervisor(&sup).start();
        task.join().unwrap();
    };
    there();
    records_every_type();
    let spans = Recorder::global().spans("types");
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].fields, spans[1].fields);
    assert_eq!(spans[0].fields.len(), 13 - 2 + 1);
    for message in ["the message: 7", "a message that is a string", "a message"] {
        let events = Recorder::global().events(message);
        assert_eq!(events.len(), 2, "{message}");
        let there: Vec<_> = events[0]
            .fields
            .iter()
            .filter(|(name, ..)| name != "task" && name != "worker")
            .collect();
        // Bytes are sent as the text that shows them.
        assert_eq!(there, events[1].fields.iter().collect::<Vec<_>>());
    }
}

#[background_task(tt = "mp")]
fn leaves_spans_open() {
    static LEFT: Mutex<Vec<Span>> = Mutex::new(Vec::new());
    let mut left = LEFT.lock().unwrap();
    if left.is_empty() {
        let kept = info_span!("kept", value = Empty);
        std::mem::forget(kept.clone().entered());
        let inner = info_span!("kept inside");
        std::mem::forget(inner.clone().entered());
        left.extend([kept, inner]);
        info!("the first call");
        return;
    }
    // They are closed, although they can still be used here.
    info!("the second call");
    left[0].in_scope(|| {
        info!("in the old span");
        info_span!("new in the old span");
    });
    left[0].record("value", 1);
    left.clear();
}

#[test]
fn spans_that_a_task_leaves_open_are_closed_at_its_end() {
    let sup = one();
    let (task, first) = inside("leaves", || leaves_spans_open::builder().supervisor(&sup).start());
    task.join().unwrap();
    let (kept, inner) = (Recorder::global().span("kept"), Recorder::global().span("kept inside"));
    assert!(kept.is_closed && inner.is_closed && is_closed(first, "leaves"));
    assert_eq!((kept.parent, inner.parent), (Some(first), Some(kept.id)));
    assert_eq!(Recorder::global().event("the first call").parent, Some(inner.id));

    let (task, second) = inside("uses", || leaves_spans_open::builder().supervisor(&sup).start());
    task.join().unwrap();
    for event in ["the second call", "in the old span"] {
        assert_eq!(Recorder::global().event(event).parent, Some(second), "{event}");
    }
    let new = Recorder::global().span("new in the old span");
    assert_eq!((new.parent, new.is_closed), (Some(second), true));
    assert!(Recorder::global().span("kept").fields.is_empty());
    assert!(is_closed(second, "uses"));
}

#[background_task(tt = "mp")]
fn names_parents() {
    let outer = info_span!("named outer");
    let other = info_span!("named other");
    outer.in_scope(|| {
        info_span!(parent: &other, "child of other");
        info_span!(parent: None, "child of none");
        info!(parent: &other, "event of other");
        info!(parent: None, "event of none");
        info_span!("contextual").follows_from(&other);
    });
    other.follows_from(Span::current());
}

#[test]
fn explicit_parents_are_kept() {
    let sup = one();
    let (task, request) = inside("explicit", || names_parents::builder().supervisor(&sup).start());
    task.join().unwrap();
    let (outer, other) =
        (Recorder::global().span("named outer"), Recorder::global().span("named other"));
    assert_eq!((outer.parent, other.parent), (Some(request), Some(request)));
    assert_eq!(Recorder::global().span("child of other").parent, Some(other.id));
    assert_eq!(Recorder::global().event("event of other").parent, Some(other.id));
    assert_eq!(Recorder::global().span("child of none").parent, None);
    let event = Recorder::global().event("event of none");
    assert_eq!(event.parent, None);
    assert!(!event.field("task").is_empty() && !event.field("worker").is_empty());
    let contextual = Recorder::global().span("contextual");
    assert_eq!((contextual.parent, contextual.follows), (Some(outer.id), vec![other.id]));
    assert_eq!(other.follows, [request]);
}

#[background_task(tt = "mp")]
fn uses_threads() {
    let (span, opened) = (Span::current(), info_span!("for a thread"));
    let in_span = opened.clone();
    std::thread::spawn(move || {
        info!("in a thread");
        span.in_scope(|| info!("in a thread inside of the task"));
        in_span.in_scope(|| info!("in a thread inside of a span"));
    })
    .join()
    .unwrap();
    let nested = Span::current();
    assert!(!nested.is_none());
    let task = TaskBuilder::new(move || nested.in_scope(|| info!("in a nested task"))).start();
    task.join().unwrap();
}

#[test]
fn current_span_can_be_given_to_threads_and_nested_tasks() {
    let sup = one();
    let (task, request) = inside("threads", || uses_threads::builder().supervisor(&sup).start());
    let id = task.id().to_string();
    task.join().unwrap();
    let alone = Recorder::global().event("in a thread");
    assert_eq!((alone.parent, alone.field("task")), (None, ""));
    assert!(!alone.field("worker").is_empty());
    let opened = Recorder::global().span("for a thread").id;
    let events = [
        ("in a thread inside of the task", request),
        ("in a thread inside of a span", opened),
        ("in a nested task", request),
    ];
    for (message, parent) in events {
        let event = Recorder::global().event(message);
        assert_eq!((event.parent, event.field("task")), (Some(parent), &*id), "{message}");
    }
}

#[background_task(tt = "mp")]
#[instrument(skip(ctx), ret)]
fn with_instrument(ctx: &TaskContext, n: u64) -> u64 {
    let _ = ctx;
    info!("in the instrumented function");
    n
}

#[background_task(tt = "mp")]
#[instrument]
async fn async_with_instrument(n: u64) -> u64 {
    tokio::task::yield_now().await;
    let inner = async {
        tokio::task::yield_now().await;
        info!("in the inner future");
    };
    inner.instrument(info_span!("of the inner future")).await;
    info!("in the outer future");
    n
}

#[test]
fn instrumented_functions_have_spans_of_their_names() {
    let sup = one();
    let (task, request) =
        inside("instrument", || with_instrument::builder(5).supervisor(&sup).start());
    task.join().unwrap();
    let span = Recorder::global().span("with_instrument");
    assert_eq!((span.parent, span.typed("n"), span.is_closed), (Some(request), ("u64", "5"), true));
    assert_eq!(Recorder::global().event("in the instrumented function").parent, Some(span.id));
    let returned = Recorder::global()
        .all(|event| event.parent == Some(span.id) && event.field("return") == "5");
    assert_eq!(returned.len(), 1);

    let (task, request) =
        inside("future", || async_with_instrument::builder(6).supervisor(&sup).start());
    task.join().unwrap();
    let span = Recorder::global().span("async_with_instrument");
    assert_eq!((span.parent, span.typed("n")), (Some(request), ("u64", "6")));
    let inner = Recorder::global().span("of the inner future");
    assert_eq!(inner.parent, Some(span.id));
    assert_eq!(Recorder::global().event("in the inner future").parent, Some(inner.id));
    assert_eq!(Recorder::global().event("in the outer future").parent, Some(span.id));
}

#[background_task(tt = "mp")]
fn dies_in_span(how: &str) {
    let _span = info_span!("deadly", how).entered();
    info_span!("deadly inside", how).in_scope(|| match how {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "panic" => panic!("a panic inside of spans"),
        _ => loop {
            std::thread::park();
        },
    });
}

#[test]
fn spans_of_a_dead_worker_process_are_closed_before_its_task_ends() {
    let sup = one();
    for how in ["abort", "exit", "panic", "limit", "kill"] {
        let limit = Duration::from_millis(if how == "limit" { 300 } else { 60_000 });
        let (task, request) =
            inside(how, || dies_in_span::builder(how).supervisor(&sup).timeout(limit).start());
        let mine = |name: &str| {
            let all = Recorder::global().spans(name).into_iter();
            all.filter(|span| span.field("how") == how).collect::<Vec<_>>()
        };
        if how == "kill" {
            atasker_tests::eventually(|| !mine("deadly inside").is_empty());
            task.kill().unwrap();
        }
        task.wait().unwrap_err();
        for (span, parent) in [(mine("deadly"), Some(request)), (mine("deadly inside"), None)] {
            let parent = parent.or_else(|| Some(mine("deadly")[0].id));
            assert_eq!(span.len(), 1, "{how}");
            assert!(span[0].is_closed && span[0].parent == parent, "{how}: {span:?}");
        }
        assert!(is_closed(request, how), "{how}");
    }
}

#[background_task(tt = "mp")]
fn returns_err(n: u64) -> Result<(), String> {
    info_span!("attempted", n).in_scope(|| Err("again".into()))
}

#[test]
fn span_of_the_launch_is_kept_over_delays_and_attempts() {
    let sup = one();
    let (task, request) = inside("attempts", || {
        let builder = returns_err::builder(1).supervisor(&sup).delay(Duration::from_millis(20));
        builder.retries(2).retry_delay(Duration::from_millis(1)).start()
    });
    assert!(!is_closed(request, "attempts"));
    task.wait().unwrap().as_ref().unwrap_err();
    let spans = Recorder::global().spans("attempted");
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| span.parent == Some(request) && span.is_closed));
    // The handle keeps nothing of it.
    assert!(is_closed(request, "attempts"));
    drop(task);
}

#[test]
fn task_that_never_begins_releases_the_span_of_its_launch() {
    let sup = one();
    let running = until_stopped::builder().supervisor(&sup).start();
    running.recv().unwrap();
    let (task, request) = inside("canceled", || opens_spans::builder().supervisor(&sup).start());
    assert!(!is_closed(request, "canceled"));
    assert!(task.cancel());
    task.wait().unwrap_err();
    assert!(is_closed(request, "canceled"));
    running.stop();
    running.join().unwrap();
}

/// Not the worker processes of other tests: one whose functions around the tasks open spans.
#[test]
fn spans_outside_of_tasks_are_roots() {
    fn init() {
        info_span!("of worker_init").in_scope(|| info!("in worker_init"));
        std::mem::forget(info_span!("left by worker_init"));
    }
    fn exit() {
        info!("in worker_exit");
    }
    Recorder::global();
    // With a template, it would be the process that has run `worker_init`.
    let sup = supervisor(pool_of(1).template(false).worker_init(init).worker_exit(exit));
    let (task, _) =
        inside("outside", || atasker_tests::mp::pid::builder().supervisor(&sup).start());
    let worker = task.join().unwrap().to_string();
    let span = Recorder::global().span("of worker_init");
    assert_eq!((span.parent, span.is_closed), (None, true));
    let event = Recorder::global().event("in worker_init");
    assert_eq!((event.parent, event.field("task")), (Some(span.id), ""));
    assert_eq!(event.field("worker"), worker);
    assert!(!Recorder::global().span("left by worker_init").is_closed);
    sup.stop(atasker::StopOptions::new());
    assert_eq!(Recorder::global().event("in worker_exit").parent, None);
    assert!(Recorder::global().span("left by worker_init").is_closed);
}

#[background_task(tt = "mp")]
fn opens_many(count: u64) -> u64 {
    let spans: Vec<_> = (0..count).map(|_| tracing::trace_span!("one of many")).collect();
    info!(parent: spans.last().unwrap(), "in the last of many");
    spans.len() as u64
}

/// More than are forwarded: the others are passed over.
#[test]
fn very_many_open_spans_are_no_problem() {
    let sup = one();
    let (task, request) = inside("many", || opens_many::builder(70_000).supervisor(&sup).start());
    assert_eq!(task.join().unwrap(), 70_000);
    let spans = Recorder::global().spans("one of many");
    assert_eq!(spans.len(), 1 << 16);
    assert!(spans.iter().all(|span| span.is_closed && span.parent == Some(request)));
    assert_eq!(Recorder::global().event("in the last of many").parent, Some(request));
    // The next task has all of them.
    opens_many::builder(10).supervisor(&sup).start().join().unwrap();
    assert_eq!(Recorder::global().spans("one of many").len(), (1 << 16) + 10);
}

/// Emits an event and opens a span at 16 places each.
macro_rules! at_many_places {
    ($n:expr; $($place:literal)*) => {
        match $n {
            $($place => {
                let span = info_span!("at a place", place = $place);
                span.in_scope(|| info!(place = $place, "at one of many places"));
            })*
            _ => unreachable!(),
        }
    };
}

#[background_task(tt = "mp")]
fn uses_places_on_threads() {
    let (span, start) = (Span::current(), std::sync::Barrier::new(4));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (span, start) = (span.clone(), &start);
            scope.spawn(move || {
                let _entered = span.enter();
                start.wait();
                for n in 0..16 {
                    let place = if thread % 2 == 0 { n } else { 15 - n };
                    at_many_places!(place; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                }
            });
        }
    });
}

/// Worker processes describe places in the order of their first use.
#[test]
fn threads_may_use_new_places_at_once() {
    for round in 1..=10 {
        let sup = one();
        let (task, request) =
            inside("places", || uses_places_on_threads::builder().supervisor(&sup).start());
        task.join().unwrap();
        let (spans, events) = (
            Recorder::global().spans("at a place"),
            Recorder::global().events("at one of many places"),
        );
        assert_eq!((spans.len(), events.len()), (round * 64, round * 64));
        let (spans, events) = (&spans[spans.len() - 64..], &events[events.len() - 64..]);
        assert!(spans.iter().all(|span| span.parent == Some(request) && span.is_closed));
        for event in events {
            let parent = spans.iter().find(|span| Some(span.id) == event.parent).unwrap();
            assert_eq!(parent.field("place"), event.field("place"));
        }
    }
}

struct Panics;

impl fmt::Debug for Panics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a field panics");
    }
}

#[background_task(tt = "mp")]
fn has_fields_that_panic() -> [bool; 2] {
    let event = || info!(field = ?Panics, "with a field that panics");
    let span = || drop(info_span!("with a field that panics", field = ?Panics));
    let fields: [&dyn Fn(); 2] = [&event, &span];
    fields.map(|field| {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(field));
        info!("after a field that panics");
        outcome.is_err()
    })
}

#[test]
fn panic_of_a_field_is_that_of_its_task() {
    let sup = one();
    for round in 1..3 {
        let task = has_fields_that_panic::builder().supervisor(&sup).start();
        assert_eq!(task.join().unwrap(), [true, true]);
        assert_eq!(Recorder::global().events("after a field that panics").len(), 2 * round);
    }
    assert!(Recorder::global().events("with a field that panics").is_empty());
    assert!(Recorder::global().spans("with a field that panics").is_empty());
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}
