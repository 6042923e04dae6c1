//! Inside which spans do tasks run on threads and aloops?

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use atasker::{Spans, Supervisor, TaskBuilder, background_task};
use atasker_tests::eventually;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Span, Subscriber};

/// What is known of a span.
#[derive(Clone, Debug)]
struct Seen {
    metadata: &'static Metadata<'static>,
    parent: Option<u64>,
    fields: HashMap<&'static str, String>,
    references: u64,
}

#[derive(Default)]
struct Recorder {
    spans: Mutex<HashMap<u64, Seen>>,
    last: AtomicU64,
}

thread_local! {
    static STACK: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Fields<'a>(&'a mut HashMap<&'static str, String>);
impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for &'static Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_root() => None,
            None => STACK.with_borrow(|stack| stack.last().copied()),
        };
        let mut seen =
            Seen { metadata: attributes.metadata(), parent, fields: HashMap::new(), references: 1 };
        attributes.record(&mut Fields(&mut seen.fields));
        self.spans.lock().unwrap().insert(id, seen);
        Id::from_u64(id)
    }
    fn record(&self, id: &Id, record: &Record<'_>) {
        let mut spans = self.spans.lock().unwrap();
        record.record(&mut Fields(&mut spans.get_mut(&id.into_u64()).unwrap().fields));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, id: &Id) {
        STACK.with_borrow_mut(|stack| stack.push(id.into_u64()));
    }
    fn exit(&self, id: &Id) {
        STACK.with_borrow_mut(|stack| assert_eq!(stack.pop(), Some(id.into_u64())));
    }
    fn clone_span(&self, id: &Id) -> Id {
        self.spans.lock().unwrap().get_mut(&id.into_u64()).unwrap().references += 1;
        id.clone()
    }
    fn try_close(&self, id: Id) -> bool {
        let mut spans = self.spans.lock().unwrap();
        let seen = spans.get_mut(&id.into_u64()).unwrap();
        seen.references -= 1;
        seen.references == 0
    }
    fn current_span(&self) -> tracing_core::span::Current {
        let Some(id) = STACK.with_borrow(|stack| stack.last().copied()) else {
            return tracing_core::span::Current::none();
        };
        tracing_core::span::Current::new(Id::from_u64(id), self.metadata_of(id))
    }
}

fn record() -> &'static Recorder {
    static RECORDER: OnceLock<&'static Recorder> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let recorder: &'static Recorder = Box::leak(Box::default());
        tracing::subscriber::set_global_default(recorder).expect("no other subscriber");
        recorder
    })
}

impl Recorder {
    fn span(&self, id: u64) -> Seen {
        self.spans.lock().unwrap()[&id].clone()
    }

    fn metadata_of(&self, id: u64) -> &'static Metadata<'static> {
        self.spans.lock().unwrap()[&id].metadata
    }

    fn is_closed(&self, id: u64) -> bool {
        self.span(id).references == 0
    }
}

fn id_of(span: &Span) -> u64 {
    span.id().expect("it is enabled").into_u64()
}

/// The span that is entered on this thread.
fn current() -> Option<u64> {
    STACK.with_borrow(|stack| stack.last().copied())
}

fn supervisor(spans: Spans) -> Supervisor {
    Supervisor::builder().id("spans").spans(spans).build()
}

/// Launches a thread task and a future, inside `span`, which return the span that they run in.
fn launch(sup: &Supervisor, span: &Span) -> [Option<u64>; 2] {
    span.in_scope(|| {
        let thread = sup.spawn(current);
        let future = sup.spawn_async(async {
            let before = current();
            tokio::task::yield_now().await;
            assert_eq!(current(), before);
            before
        });
        [thread.join().unwrap(), future.join().unwrap()]
    })
}

#[test]
fn launching_span_is_inherited() {
    record();
    let span = tracing::info_span!("request");
    let sup = supervisor(Spans::Inherit);
    assert_eq!(launch(&sup, &span), [Some(id_of(&span)); 2]);
    // Nothing stays entered on the threads of the library.
    assert_eq!(launch(&sup, &Span::none()), [None; 2]);
}

#[test]
fn inherited_span_stays_open_until_the_task_has_ended() {
    let recorder = record();
    let sup = supervisor(Spans::Inherit);
    let span = tracing::info_span!("request");
    let id = id_of(&span);
    let task = span.in_scope(|| {
        TaskBuilder::new(current).delay(Duration::from_millis(50)).supervisor(&sup).start()
    });
    drop(span);
    assert!(!recorder.is_closed(id));
    assert_eq!(task.join().unwrap(), Some(id));
    eventually(|| recorder.is_closed(id));
}

#[test]
fn nothing_is_entered_with_spans_off() {
    record();
    let span = tracing::info_span!("request");
    assert_eq!(launch(&supervisor(Spans::Off), &span), [None; 2]);
    let sup = supervisor(Spans::Inherit);
    let task = span.in_scope(|| TaskBuilder::new(current).span(false).supervisor(&sup).start());
    assert_eq!(task.join().unwrap(), None);
}

#[background_task(span = false)]
fn without_span() -> Option<u64> {
    current()
}

#[background_task(span = true)]
fn with_span() -> Option<u64> {
    current()
}

#[test]
fn key_of_the_attribute_disables_the_span() {
    record();
    let span = tracing::info_span!("request");
    let sup = supervisor(Spans::Inherit);
    let (without, with) = span.in_scope(|| {
        (
            without_span::builder().supervisor(&sup).start(),
            with_span::builder().supervisor(&sup).start(),
        )
    });
    assert_eq!((without.join().unwrap(), with.join().unwrap()), (None, Some(id_of(&span))));
}

#[test]
fn span_of_the_builder_takes_the_place_of_the_current_one() {
    record();
    let sup = supervisor(Spans::Inherit);
    let (current_one, given) = (tracing::info_span!("request"), tracing::info_span!("given"));
    let id = id_of(&given);
    let task =
        current_one.in_scope(|| TaskBuilder::new(current).in_span(given).supervisor(&sup).start());
    assert_eq!(task.join().unwrap(), Some(id));
    let root = current_one
        .in_scope(|| TaskBuilder::new(current).in_span(Span::none()).supervisor(&sup).start());
    assert_eq!(root.join().unwrap(), None);
}

#[test]
fn each_attempt_has_a_span_of_the_task() {
    let recorder = record();
    let sup = supervisor(Spans::PerTask);
    let request = tracing::info_span!("request");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let task = request.in_scope(|| {
        TaskBuilder::repeatable(move || {
            let mut seen = sees.lock().unwrap();
            seen.push(current().unwrap());
            assert!(seen.len() > 1, "no luck");
        })
        .name("resize")
        .retries(1)
        .delay(Duration::from_millis(1))
        .supervisor(&sup)
        .start()
    });
    let id = task.id();
    // The second attempt begins after a panic in the first, which holds the lock.
    let _ = task.join();
    let seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let first = recorder.span(seen[0]);
    assert_eq!((first.metadata.name(), first.metadata.target()), ("task", "atasker"));
    assert_eq!(first.parent, Some(id_of(&request)));
    let field = |name| first.fields.get(name).map(String::as_str).unwrap_or("");
    assert_eq!(
        [field("id"), field("name"), field("otel.name")],
        [&*id.to_string(), "resize", "resize"]
    );
    assert_eq!([field("tt"), field("priority"), field("attempt")], ["thread", "normal", "1"]);
    assert_eq!([field("outcome"), field("otel.status_code")], ["panicked", "ERROR"]);
    eventually(|| recorder.is_closed(seen[0]));
}

#[test]
fn spans_of_attempts_are_children_of_the_launch_in_each_place() {
    let recorder = record();
    let sup = supervisor(Spans::PerTask);
    let request = tracing::info_span!("request");
    let ids = launch(&sup, &request).map(Option::unwrap);
    for (id, tt) in ids.into_iter().zip(["thread", "async"]) {
        let span = recorder.span(id);
        assert_eq!((span.metadata.name(), span.parent), ("task", Some(id_of(&request))));
        assert_eq!((&*span.fields["tt"], &*span.fields["outcome"]), (tt, "ok"));
        assert_eq!(span.fields["otel.status_code"], "OK");
        eventually(|| recorder.is_closed(id));
    }
    // Without a current span it is a root.
    let [root, _] = launch(&sup, &Span::none()).map(Option::unwrap);
    assert_eq!(recorder.span(root).parent, None);
}

#[test]
fn span_of_a_nested_launch_is_a_child_of_its_task() {
    let recorder = record();
    let sup = supervisor(Spans::PerTask);
    let inner = sup.clone();
    let outer = sup.spawn(move || (current(), inner.spawn(current).join().unwrap()));
    let (outer, inner) = outer.join().unwrap();
    assert_eq!(recorder.span(inner.unwrap()).parent, outer);
}
