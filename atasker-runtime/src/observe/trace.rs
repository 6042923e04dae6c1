//! The trace context of remote tasks: what makes the span of a run on a node a child of the span in
//! which the task was launched.
//!
//! `tracing` has no notion of it, and this library depends on no exporter of spans. So a program
//! that has one says how the context of a span is read and set.

use std::sync::OnceLock;

use tracing::Span;

use super::existing_watch;
use crate::task::header::Header;
use crate::unwind::attempt;

type Inject = Box<dyn Fn(&Span) -> Option<String> + Send + Sync>;
type Extract = Box<dyn Fn(&Span, &str) + Send + Sync>;

static PROPAGATION: OnceLock<(Inject, Extract)> = OnceLock::new();

/// Sets how the trace context of remote tasks travels, for the whole process. Returns `false` if that
/// was set before, and changes nothing then.
///
/// `inject` returns the W3C header `traceparent` of a span, and is called by launches of remote
/// tasks with the span that is current there. On the node, `extract` is called with the span of the
/// run and that header, and makes it the parent of the span. Nodes need
/// [`Spans::PerTask`](crate::Spans::PerTask). Both sides must call this, usually where they set their
/// subscriber.
///
/// With `tracing-opentelemetry`:
///
/// ```
/// # use atasker_runtime as atasker;
/// # use std::collections::HashMap;
/// # struct Context;
/// # trait OpenTelemetrySpanExt {
/// #     fn context(&self) -> Context { Context }
/// #     fn set_parent(&self, _: Context) -> Result<(), ()> { Ok(()) }
/// # }
/// # impl OpenTelemetrySpanExt for tracing::Span {}
/// # struct TraceContextPropagator;
/// # impl TraceContextPropagator {
/// #     fn new() -> Self { TraceContextPropagator }
/// #     fn inject_context(&self, _: &Context, _: &mut HashMap<String, String>) {}
/// #     fn extract(&self, _: &HashMap<String, String>) -> Context { Context }
/// # }
/// atasker::propagate_traces(
///     |span| {
///         let mut headers = HashMap::new();
///         TraceContextPropagator::new().inject_context(&span.context(), &mut headers);
///         headers.remove("traceparent")
///     },
///     |span, traceparent| {
///         let headers = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
///         let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
///     },
/// );
/// ```
pub fn propagate_traces(
    inject: impl Fn(&Span) -> Option<String> + Send + Sync + 'static,
    extract: impl Fn(&Span, &str) + Send + Sync + 'static,
) -> bool {
    PROPAGATION.set((Box::new(inject), Box::new(extract))).is_ok()
}

/// Returns whether the program has said how the context travels.
pub(crate) fn is_set() -> bool {
    PROPAGATION.get().is_some()
}

/// The longest header that is carried, in bytes. That of version 00 has 55.
const MAX_LEN: usize = 256;

/// Returns the trace context of a task that is being launched. `None` if its spans are off, or no
/// subscriber wants them.
pub(crate) fn of_launch(header: &Header) -> Option<String> {
    let (inject, _) = PROPAGATION.get()?;
    let parent = existing_watch(header)?.parent()?;
    let span = parent.span();
    if span.is_disabled() {
        return None;
    }
    let trace = attempt(|| inject(span))??;
    let is_header = trace.len() <= MAX_LEN && trace.bytes().all(|byte| byte.is_ascii_graphic());
    is_header.then_some(trace)
}

/// Makes the span of a run a child of the span in which its task was launched, on another machine.
pub(super) fn continue_in(span: &Span, traceparent: &str) {
    if let Some((_, extract)) = PROPAGATION.get() {
        attempt(|| extract(span, traceparent));
    }
}
