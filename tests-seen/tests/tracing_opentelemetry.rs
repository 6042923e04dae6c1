//! Are the spans of worker processes part of the trace of the launch, with OpenTelemetry? This test
//! has its own program because it sets the global subscriber.

use atasker::{MpPoolConfig, background_task};
use atasker_tests::mp::supervisor;
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::{error, info, info_span, instrument, warn};
use tracing_subscriber::layer::SubscriberExt;

#[instrument]
fn step(n: u32) {
    if n > 0 {
        step(n - 1);
    }
    info!(n, "in a step");
}

#[background_task(tt = "mp")]
fn works(how: &str) {
    let span = info_span!("work", how, count = 3, ratio = 0.5, yes = true, otel.name = "renamed");
    span.in_scope(|| {
        step(1);
        let failure: Box<dyn std::error::Error> = "x".parse::<u32>().unwrap_err().into();
        error!(error = &*failure, "it failed");
    });
    warn!("outside of work");
    if how == "abort" {
        let _span = info_span!("deadly").entered();
        std::process::abort();
    }
}

#[test]
fn spans_of_worker_processes_are_part_of_the_trace() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    let sup = supervisor(MpPoolConfig::new(1));

    for (how, count) in [("return", 4), ("abort", 5)] {
        exporter.reset();
        let task = {
            let _request = info_span!("request").entered();
            works::builder(how).supervisor(&sup).start()
        };
        let (id, outcome) = (task.id(), task.join());
        assert_eq!(outcome.is_ok(), how == "return");
        let spans = exporter.get_finished_spans().unwrap();
        assert_eq!(spans.len(), count, "{spans:#?}");
        let of = |name: &str| -> Vec<&SpanData> {
            spans.iter().filter(|span| span.name == name).collect()
        };
        let one = |name: &str| {
            let found = of(name);
            assert_eq!(found.len(), 1, "{name}");
            found[0]
        };
        let request = one("request");
        assert_eq!(request.parent_span_id, SpanId::INVALID);
        let trace = request.span_context.trace_id();
        assert!(spans.iter().all(|span| span.span_context.trace_id() == trace));
        let work = one("renamed");
        assert_eq!(work.parent_span_id, request.span_context.span_id());
        let steps = of("step");
        // The inner one ends first.
        assert_eq!(steps[1].parent_span_id, work.span_context.span_id());
        assert_eq!(steps[0].parent_span_id, steps[1].span_context.span_id());
        assert!(spans.iter().all(|span| span.start_time <= span.end_time));
        if how == "abort" {
            assert_eq!(one("deadly").parent_span_id, request.span_context.span_id());
        }

        let attribute = |span: &SpanData, key: &str| {
            let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
            found.map(|attribute| attribute.value.clone())
        };
        assert_eq!(attribute(work, "count"), Some(Value::I64(3)));
        assert_eq!(attribute(work, "ratio"), Some(Value::F64(0.5)));
        assert_eq!(attribute(work, "yes"), Some(Value::Bool(true)));
        assert_eq!(attribute(work, "how"), Some(Value::String(how.to_owned().into())));
        assert_eq!(attribute(work, "code.file.path"), Some(Value::String(file!().into())));
        // Not those of the library.
        let events = |span: &SpanData| -> Vec<String> {
            let ours = span.events.iter().filter(|event| {
                let target = event.attributes.iter().find(|it| it.key.as_str() == "target");
                target.is_some_and(|it| it.value.as_str() != "atasker")
            });
            ours.map(|event| event.name.to_string()).collect()
        };
        assert_eq!(events(work), ["it failed"]);
        assert_eq!(events(request), ["outside of work"]);
        assert_eq!(events(steps[0]), ["in a step"]);
        let failure = &work.events[0].attributes;
        let exception = failure.iter().find(|it| it.key.as_str() == "exception.message");
        assert!(exception.is_some_and(|it| it.value.as_str().contains("invalid digit")));
        let task = failure.iter().find(|it| it.key.as_str() == "task");
        assert!(task.is_some_and(|it| it.value.as_str() == id.to_string()));
    }
}
