//! The trace context of a launch travels to the node that runs the task.

#![forbid(unsafe_code)]

use std::sync::Mutex;

use atasker::{Cluster, NodeConfig, PoolConfig, Supervisor, background_task, propagate_traces};

#[background_task(tt = "remote")]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

/// The names of the spans on nodes, and the contexts that they were given.
static CONTINUED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

fn traceparent(span: &tracing::Span) -> Option<String> {
    let id = span.id()?.into_u64();
    Some(format!("00-{:032x}-{id:016x}-01", 42))
}

#[test]
fn span_of_a_run_continues_the_trace_of_its_launch() {
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let extract = |span: &tracing::Span, traceparent: &str| {
        let name = span.metadata().unwrap().name().to_owned();
        CONTINUED.lock().unwrap().push((name, traceparent.to_owned()));
    };
    assert!(propagate_traces(traceparent, extract));
    assert!(!propagate_traces(|_| None, |_, _| {}), "it is set once");
    let cluster = Cluster::in_memory();
    let sup = Supervisor::builder().build();
    sup.join_cluster(&cluster);
    let _node = cluster.member("one").serve(NodeConfig::threads(PoolConfig::new(1))).unwrap();
    let request = tracing::info_span!("request");
    let expected = traceparent(&request).unwrap();
    let task = request.in_scope(|| add::builder(1, 2).supervisor(&sup).start());
    assert_eq!(task.join().unwrap(), 3);
    assert_eq!(*CONTINUED.lock().unwrap(), [("task".to_owned(), expected)]);
    // Without a span there is no trace.
    assert_eq!(add::builder(2, 2).supervisor(&sup).start().join().unwrap(), 4);
    assert_eq!(CONTINUED.lock().unwrap().len(), 1);
}
