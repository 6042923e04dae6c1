//! Under which name does the body of a task appear in spans, in `type_name` and in backtraces?

use std::sync::{Arc, LazyLock, Mutex};

use atasker::{BackgroundWorker, TaskContext, WorkerContext, background_task, background_worker};
use tracing::instrument;
use tracing::span::Attributes;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// The path of the enclosing function.
macro_rules! own_path {
    () => {{
        fn here() {}
        std::any::type_name_of_val(&here).trim_end_matches("::here").to_owned()
    }};
}

#[background_task]
#[instrument]
fn thread(n: u32) -> String {
    own_path!()
}

#[background_task]
#[instrument(skip_all, fields(n))]
fn with_context(ctx: &TaskContext, n: u32) -> String {
    assert_eq!(ctx.stopped(), n > 1);
    own_path!()
}

#[background_task]
#[tracing::instrument(level = "info")]
async fn on_aloop(n: u32) -> String {
    std::future::ready(()).await;
    own_path!()
}

#[background_task(tt = "mp")]
#[instrument]
fn process(n: u32, text: &str) -> String {
    own_path!()
}

#[background_task]
#[instrument(skip(value))]
fn generic<T: Send + 'static, const N: usize>(value: [T; N]) -> String {
    let _ = value;
    own_path!()
}

#[background_task]
#[instrument(skip_all)]
fn impl_trait(f: impl Fn() -> u32 + Send + 'static) -> String {
    assert_eq!(f(), 1);
    own_path!()
}

#[background_task]
#[cfg_attr(all(), instrument, must_use)]
#[cfg_attr(any(), instrument(name = "never"))]
fn conditional(n: u32) -> String {
    own_path!()
}

#[background_task(companion = false)]
#[instrument]
fn alone(n: u32) -> String {
    own_path!()
}

#[background_task(companion = Renamed)]
#[instrument]
fn renamed(n: u32) -> String {
    own_path!()
}

#[background_task]
#[instrument]
fn call(n: u32) -> String {
    own_path!()
}

#[background_task]
#[instrument]
fn builder(n: u32) -> String {
    own_path!()
}

#[background_task]
#[instrument]
fn r#match(r#if: u32) -> String {
    own_path!()
}

#[background_task]
#[instrument(name = "another")]
fn named(n: u32) -> String {
    own_path!()
}

struct Service;

impl Service {
    #[background_task]
    #[instrument(skip(self))]
    fn method(self: Arc<Self>, n: u32) -> String {
        own_path!()
    }

    #[background_task]
    #[cfg_attr(all(), instrument(skip_all))]
    fn conditional_method(self: Arc<Self>) -> String {
        own_path!()
    }

    #[background_task]
    #[instrument(skip_all, name = "said")]
    async fn named_method(self: Arc<Self>, n: u32) -> u32 {
        n
    }
}

static WORKERS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[background_worker(event)]
#[instrument(skip_all)]
fn worker(_: &WorkerContext, n: u32) -> bool {
    WORKERS.lock().unwrap().push(own_path!());
    n > 0
}

#[background_worker(queue)]
#[instrument(skip_all)]
async fn worker_on_aloop(item: u32, kept: &mut u32) -> bool {
    *kept += item;
    WORKERS.lock().unwrap().push(own_path!());
    true
}

/// Collects the names of spans.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<&'static str>>>);

impl<S> tracing_subscriber::Layer<S> for Spans
where
    S: tracing::Subscriber + for<'l> LookupSpan<'l>,
{
    fn on_new_span(&self, attrs: &Attributes<'_>, _: &tracing::Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push(attrs.metadata().name());
    }
}

/// The names of the spans from the first call on. Worker processes that start before do not
/// forward theirs at once.
fn spans() -> &'static Spans {
    static SPANS: LazyLock<Spans> = LazyLock::new(|| {
        let spans = Spans::default();
        let subscriber = tracing_subscriber::registry().with(spans.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        spans
    });
    &SPANS
}

#[test]
fn body_has_name_of_function() {
    let spans = spans();

    let service = Arc::new(Service);
    let paths = [
        ("thread", thread(1)),
        ("with_context", with_context(1)),
        ("on_aloop", on_aloop(1)),
        ("process", process(1, "")),
        ("generic", generic([1, 2])),
        ("impl_trait", impl_trait(|| 1)),
        ("conditional", conditional(1)),
        ("alone", alone(1)),
        ("renamed", renamed(1)),
        ("call", call(1)),
        ("builder", builder(1)),
        ("match", r#match(1)),
        ("named", named(1)),
        ("method", service.clone().method(1)),
        ("conditional_method", service.clone().conditional_method()),
    ];
    for (name, task) in paths {
        let path = task.join().unwrap().replace("r#", "").replace("{{closure}}", "");
        let found = path.trim_end_matches(':').rsplit("::").find(|part| !part.starts_with('_'));
        let method = format!("__atasker_{name}");
        assert!(
            path.contains(&method) || found.is_some_and(|last| last.starts_with(name)),
            "{path}"
        );
    }
    service.named_method(1).join().unwrap();
    assert!(thread::call(1).contains("thread"));

    let (event, queue) = (worker(1), worker_on_aloop(0));
    event.start();
    queue.start();
    event.trigger();
    queue.put(1).unwrap();
    let handles: [&BackgroundWorker; 2] = [&event, &queue];
    while handles.iter().any(|worker| worker.runs() == 0) {
        std::thread::yield_now();
    }
    event.stop();
    queue.stop();
    let paths = WORKERS.lock().unwrap().join(" ");
    assert!(paths.contains("::worker") && paths.contains("::worker_on_aloop"), "{paths}");

    let mut spans = spans.0.lock().unwrap().clone();
    spans.sort_unstable();
    let mut expected = vec![
        "thread",
        "with_context",
        "on_aloop",
        "process",
        "generic",
        "impl_trait",
        "conditional",
        "conditional_method",
        "alone",
        "renamed",
        "call",
        "builder",
        "r#match",
        "another",
        "method",
        "said",
        "worker",
        "worker_on_aloop",
        "thread",
    ];
    expected.sort_unstable();
    assert_eq!(spans, expected);
}

#[background_task]
fn recurses(n: u32) -> u32 {
    match n {
        0 => 0,
        n if n % 2 == 0 => 1 + recurses::call(n - 1),
        n => 1 + recurses(n - 1).join().unwrap(),
    }
}

#[background_task]
async fn recurses_on_aloop(n: u32) -> u32 {
    match n {
        0 => 0,
        n => 1 + Box::pin(recurses_on_aloop::call(n - 1)).await,
    }
}

#[test]
fn body_recurses_directly_or_by_launcher() {
    assert_eq!(recurses(5).join().unwrap(), 5);
    assert_eq!(recurses::call(5), 5);
    assert_eq!(recurses_on_aloop(5).join().unwrap(), 5);
}

#[background_task(tt = "mp")]
fn panics() {
    panic!("at {}", std::backtrace::Backtrace::force_capture());
}

#[test]
fn backtrace_contains_name() {
    spans();
    let error = panics().join().unwrap_err().to_string();
    assert!(error.contains("body_names::panics"), "{error}");
    assert!(error.matches("panics").count() > 1, "{error}");
}

#[background_task]
#[track_caller]
#[must_use]
fn tells_its_caller() -> u32 {
    std::panic::Location::caller().line()
}

#[test]
fn call_keeps_caller_location() {
    let line = line!() + 1;
    assert_eq!(tells_its_caller::call(), line);
}
