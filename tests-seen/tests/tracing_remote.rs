//! Is the span of a run on a node part of the trace of the launch, with OpenTelemetry in both
//! programs? This test has its own program because it sets the global subscriber.

use std::collections::HashMap;

use atasker::{
    Cluster, MpPoolConfig, Node, NodeConfig, PoolConfig, Spans, Supervisor, TaskBuilder,
    background_task,
};
use atasker_tests::eventually;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::{info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

#[background_task(tt = "remote", name = "traced", retries = 1)]
fn traced(fails: bool) -> Result<(), String> {
    let _step = info_span!("step").entered();
    info!("in a step");
    if fails { Err("as it was told".to_owned()) } else { Ok(()) }
}

fn propagate_traces() {
    assert!(atasker::propagate_traces(
        |span| {
            let mut headers = HashMap::new();
            TraceContextPropagator::new().inject_context(&span.context(), &mut headers);
            headers.remove("traceparent")
        },
        |span, traceparent| {
            let headers = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
            let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
        },
    ));
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.as_str().into_owned())
}

struct Traces(InMemorySpanExporter);

impl Traces {
    /// The finished spans of a name, once there are this many.
    fn wait(&self, name: &str, count: usize) -> Vec<SpanData> {
        let named = || -> Vec<SpanData> {
            let spans = self.0.get_finished_spans().unwrap();
            spans.into_iter().filter(|span| span.name == name).collect()
        };
        eventually(|| named().len() >= count);
        let found = named();
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }

    /// The spans of the runs, each with a step inside.
    fn runs(&self, count: usize) -> Vec<SpanData> {
        let runs = self.wait("traced", count);
        let steps = self.wait("step", count);
        for run in &runs {
            let inside = |step: &&SpanData| step.parent_span_id == run.span_context.span_id();
            let step = steps.iter().find(inside).expect("a step of each run");
            assert_eq!(step.span_context.trace_id(), run.span_context.trace_id());
            let event = step.events.iter().find(|event| event.name == "in a step").unwrap();
            // Events of worker processes say where they come from.
            if attribute(run, "worker").is_some() {
                let node = event.attributes.iter().find(|it| it.key.as_str() == "node").unwrap();
                assert_eq!(Some(node.value.as_str().into_owned()), attribute(run, "node"));
            }
        }
        runs
    }
}

#[test]
fn span_of_a_run_is_a_child_of_the_launch() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    propagate_traces();
    let traces = Traces(exporter);

    for (name, config) in [
        ("processes", NodeConfig::new(MpPoolConfig::new(1))),
        ("threads", NodeConfig::threads(PoolConfig::new(1))),
    ] {
        let cluster = Cluster::in_memory();
        let node: Node = cluster.member(name).serve(config.name(name)).unwrap();
        for (spans, fails) in [(Spans::Inherit, false), (Spans::PerTask, true)] {
            traces.0.reset();
            let sup = Supervisor::builder().spans(spans).build();
            sup.join_cluster(&cluster);
            let launch = || traced::builder(fails).supervisor(&sup).start();
            let task = info_span!("request").in_scope(launch);
            let id = task.id();
            assert_eq!(task.join().unwrap().is_err(), fails);
            let runs = traces.runs(if fails { 2 } else { 1 });
            let request = traces.wait("request", 1).remove(0);
            assert_eq!(request.parent_span_id, SpanId::INVALID);
            for run in &runs {
                assert_eq!(run.parent_span_id, request.span_context.span_id(), "{name}");
                assert_eq!(run.span_context.trace_id(), request.span_context.trace_id());
                assert_eq!(attribute(run, "node").as_deref(), Some(name));
                assert_eq!(attribute(run, "id"), Some(id.to_string()));
                let outcome = if fails { "returned_err" } else { "ok" };
                assert_eq!(attribute(run, "outcome").as_deref(), Some(outcome));
            }
            let mut attempts: Vec<_> = runs.iter().map(|run| attribute(run, "attempt")).collect();
            attempts.sort();
            let all = [Some("1".to_owned()), Some("2".to_owned())];
            assert_eq!(attempts, all[..runs.len()]);
        }

        // The context of a launch whose spans are off stays here.
        for (spans, in_span) in [(Spans::Off, true), (Spans::Inherit, false)] {
            traces.0.reset();
            let sup = Supervisor::builder().spans(spans).build();
            sup.join_cluster(&cluster);
            let launch = || traced::builder(false).supervisor(&sup).start();
            let task = match in_span {
                true => info_span!("request").in_scope(launch),
                false => launch(),
            };
            task.join().unwrap().unwrap();
            assert_eq!(traces.runs(1)[0].parent_span_id, SpanId::INVALID);
        }
        node.drain(atasker_tests::FAR);
    }

    // A task of this program's own has no node.
    traces.0.reset();
    let sup = Supervisor::builder().spans(Spans::PerTask).build();
    TaskBuilder::new(|| ()).name("own").supervisor(&sup).start().join().unwrap();
    assert_eq!(attribute(&traces.wait("own", 1)[0], "node"), None);
}
