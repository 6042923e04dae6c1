//! The spans of tasks.
//!
//! A launch keeps the span that is current there, the *parent*, if a subscriber wants INFO of the
//! target `atasker`. Each attempt runs inside the parent, or inside a span of the attempt that is a
//! child of it. In a worker process nothing is entered: what a task opens there is made again in
//! this program, as a child of [`span_of`] the task.

use serde::{Deserialize, Serialize};
use tracing::{Dispatch, Level, Span, field};

use super::registry::Observers;
use super::watch::{Kept, Watch};
use super::{existing_watch, interest, watch_of};
use crate::info::TaskType;
use crate::task::header::Header;
use crate::task::{AnyTask, TaskArc};
use crate::unwind::{Guarded, attempt, guarded};

/// The tracing spans of the tasks of a supervisor. See
/// [`SupervisorBuilder::spans`](crate::SupervisorBuilder::spans).
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Spans, Supervisor};
/// let sup = Supervisor::builder().spans(Spans::Off).build();
/// assert_eq!(sup.spawn(|| 6 * 7).join().unwrap(), 42);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Spans {
    /// Each attempt runs inside a span `task` with the target `atasker`, a child of the span that was
    /// current at the launch.
    PerTask,
    /// Each attempt runs inside the span that was current at the launch.
    #[default]
    Inherit,
    /// No span is entered.
    Off,
}

/// The spans of one task, as its builder sets them.
#[derive(Default)]
pub(crate) enum TaskSpans {
    /// As the supervisor's tasks have them.
    #[default]
    Default,
    Off,
    /// This span takes the place of the one that is current at the launch.
    In(Guarded<Span>),
}

/// What the spans of a task are children of, and the subscriber that has seen it.
pub(crate) struct Parent {
    span: Span,
    dispatch: Dispatch,
    mode: Spans,
}

/// Keeps what the spans of a task that is being launched refer to.
pub(super) fn capture(header: &Header, observers: &Observers) {
    let choice = header.extras().map(|extras| std::mem::take(&mut *extras.spans.lock()));
    let choice = Guarded::new(choice.unwrap_or_default());
    let mode = match &*choice {
        TaskSpans::Off => Spans::Off,
        _ => observers.spans,
    };
    if mode == Spans::Off || !interest::wants_spans() {
        return;
    }
    let parent = attempt(|| {
        if !tracing::span_enabled!(target: "atasker", Level::INFO, "task") {
            return None;
        }
        let span = match &*choice {
            TaskSpans::In(span) => Span::clone(span),
            _ => Span::current(),
        };
        let dispatch = tracing::dispatcher::get_default(Dispatch::clone);
        (mode == Spans::PerTask || !span.is_disabled()).then_some(Parent { span, dispatch, mode })
    });
    if let Some(Some(parent)) = parent {
        if mode == Spans::PerTask && header.tt == TaskType::Mp {
            observers.need_promptness_for_spans();
        }
        watch_of(header).set_parent(parent);
    }
}

impl Parent {
    #[cfg(feature = "remote")]
    pub(super) fn span(&self) -> &Span {
        &self.span
    }
}

/// Returns whether a task was handed over to a cluster.
#[cfg(feature = "remote")]
fn runs_elsewhere(header: &Header) -> bool {
    use crate::task::elsewhere::Link;
    let is_there = |link: &Link| matches!(link, Link::Call(_) | Link::Over);
    header.elsewhere().is_some_and(|elsewhere| is_there(&elsewhere.link.lock()))
}

#[cfg(not(feature = "remote"))]
fn runs_elsewhere(_header: &Header) -> bool {
    false
}

/// Returns whether each attempt of this task has a span here. Those that run on nodes have theirs
/// there.
pub(super) fn wants_span(header: &Header) -> bool {
    if runs_elsewhere(header) {
        return false;
    }
    let parent = existing_watch(header).and_then(Watch::parent);
    parent.is_some_and(|parent| parent.mode == Spans::PerTask)
}

/// Opens the span of an attempt.
pub(super) fn open(header: &Header, watch: &Watch, observers: &Observers) -> Option<Span> {
    let parent = watch.parent()?;
    let node = observers.node().map(|node| &**node);
    attempt(|| {
        tracing::dispatcher::with_default(&parent.dispatch, || {
            tracing::info_span!(
                target: "atasker",
                parent: parent.span.id(),
                "task",
                id = %header.id(),
                name = header.name(),
                tt = header.tt.as_str(),
                priority = header.priority.as_str(),
                attempt = header.attempt(),
                node,
                otel.name = header.name(),
                outcome = field::Empty,
                otel.status_code = field::Empty,
                worker = field::Empty,
            )
        })
    })
}

/// Records how an attempt has ended, and closes its span.
pub(super) fn close(span: Kept<Span>, outcome: &'static str, worker: Option<u32>) {
    guarded(|| {
        span.record("outcome", outcome);
        span.record("otel.status_code", if outcome == "ok" { "OK" } else { "ERROR" });
        if let Some(worker) = worker {
            span.record("worker", worker);
        }
        drop(span);
    });
}

/// Returns the span that what the task does belongs to.
pub(crate) fn span_of(task: &dyn AnyTask) -> Option<Span> {
    let watch = existing_watch(task.header())?;
    if let Some(span) = watch.span() {
        return attempt(|| Span::clone(&span));
    }
    let parent = watch.parent()?;
    let inherits = parent.mode == Spans::Inherit && !parent.span.is_disabled();
    if inherits { attempt(|| parent.span.clone()) } else { None }
}

/// Returns whether the current attempt of a task is to have a span, and has none yet.
pub(crate) fn lacks_span(task: &dyn AnyTask) -> bool {
    existing_watch(task.header()).is_some_and(|watch| watch.span().is_none())
        && wants_span(task.header())
}

/// Runs `f` inside the span of a task.
#[cold]
pub(crate) fn inside<T>(task: &TaskArc, f: impl FnOnce() -> T) -> T {
    let _entered = span_of(&**task).map(Entered::new);
    f()
}

/// A span that is entered on this thread until this is dropped.
struct Entered(Option<Span>);

impl Entered {
    fn new(span: Span) -> Self {
        guarded(|| _ = span.with_subscriber(|(id, dispatch)| dispatch.enter(id)));
        Entered(Some(span))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        guarded(|| {
            let Some(span) = self.0.take() else { return };
            span.with_subscriber(|(id, dispatch)| dispatch.exit(id));
            drop(span);
        });
    }
}
