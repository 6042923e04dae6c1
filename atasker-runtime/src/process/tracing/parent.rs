//! In the parent: opens, records and closes the spans of a worker process, and emits its events.
//!
//! Runs on the thread that reads from the worker process. Every call of a subscriber is guarded, and
//! no lock is held. What a faulty worker process sends costs a limited amount of memory, and is
//! ignored or ends the worker process.

use std::collections::HashMap;

use tracing::Span;
use tracing_core::field::{Value, display};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, dispatcher};

use super::callsites::{Callsite, intern, report_limit};
use super::values::Values;
use super::{MAX_CALLSITES, MAX_OPEN_SPANS, log_records};
use crate::observe::node_of;
use crate::observe::spans::span_of;
use crate::task::TaskArc;
use crate::unwind::{Guarded, attempt, guarded};
use crate::wire::field::Malformed;
use crate::wire::frame::{ParentSpan, ToParent};

/// The table of open spans keeps memory for this number of spans.
const KEPT_CAPACITY: usize = 256;

/// The spans and callsites of one worker process.
#[derive(Default)]
pub(crate) struct RemoteSpans {
    /// By their numbers. `None` for those that are not forwarded.
    callsites: Vec<Option<&'static Callsite>>,
    open: HashMap<u64, RemoteSpan>,
    /// The latest call that the worker process has sent anything about.
    latest_call: u64,
}

/// The worker process that has sent a frame.
pub(crate) struct Sender<'a> {
    pub(crate) pid: u32,
    /// Returns the task of a call in progress.
    pub(crate) task_of: &'a dyn Fn(u64) -> Option<TaskArc>,
    /// Called with each callsite that it has described; `None` if it is not forwarded.
    pub(crate) described: &'a dyn Fn(Option<&'static Callsite>),
}

/// A span that is open in the worker process.
struct RemoteSpan {
    call: u64,
    callsite: &'static Callsite,
    inside: Inside,
}

/// Where that is what a worker process opens and emits inside of a span.
enum Inside {
    /// The span is open here, too.
    Itself(Held),
    /// The subscriber does not want the span: in its parent.
    Parent(Option<Held>),
}

/// A reference to a span, counted by its subscriber, so that the span remains open.
struct Held {
    receiver: Guarded<Dispatch>,
    id: Id,
}

impl Held {
    fn new(receiver: &Dispatch, id: Id) -> Held {
        Held { receiver: Guarded::new(receiver.clone()), id }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        guarded(|| {
            self.receiver.try_close(self.id.clone());
        });
    }
}

/// What receives a span or event: a subscriber, and the parent there.
#[derive(Default)]
struct Target {
    /// `None` for the default subscriber.
    receiver: Option<Guarded<Dispatch>>,
    parent: Option<Id>,
    /// Keeps the parent open.
    _task: Option<Guarded<Span>>,
}

impl Target {
    /// Inside of the span of a task.
    fn of_task(task: Option<&TaskArc>) -> Target {
        let Some(span) = task.and_then(guarded_span_of) else { return Target::default() };
        let parts = span.with_subscriber(|(id, receiver)| (receiver.clone(), id.clone()));
        let (receiver, parent) = parts.unzip();
        Target { receiver: receiver.map(Guarded::new), parent, _task: Some(span) }
    }

    /// Inside of a span that is held.
    fn of_held(held: Option<&Held>) -> Target {
        let parts = held.map(|held| (held.receiver.clone(), held.id.clone()));
        let (receiver, parent) = parts.unzip();
        Target { receiver: receiver.map(Guarded::new), parent, _task: None }
    }

    /// Calls `f` with the subscriber. Returns `None` if it panics.
    fn with_receiver<T>(&self, mut f: impl FnMut(&Dispatch) -> T) -> Option<T> {
        attempt(|| match &self.receiver {
            Some(receiver) => f(receiver),
            None => dispatcher::get_default(f),
        })
    }

    /// Holds the parent, if there is one.
    fn hold(&self) -> Option<Held> {
        let (receiver, parent) = self.receiver.as_ref().zip(self.parent.as_ref())?;
        let id = attempt(|| receiver.clone_span(parent))?;
        Some(Held::new(receiver, id))
    }
}

fn guarded_span_of(task: &TaskArc) -> Option<Guarded<Span>> {
    span_of(&**task).map(Guarded::new)
}

impl RemoteSpans {
    /// Handles a frame about tracing.
    pub(crate) fn handle(
        &mut self,
        frame: &ToParent<'_>,
        from: &Sender<'_>,
    ) -> Result<(), Malformed> {
        let task_of = |call: u64| if call == 0 { None } else { (from.task_of)(call) };
        match frame {
            ToParent::Callsite { call, number, description } => {
                if *number as usize != self.callsites.len() || self.callsites.len() >= MAX_CALLSITES
                {
                    return Err(Malformed("a callsite out of order"));
                }
                let callsite = intern(description)?;
                if let Some(callsite) = callsite {
                    let task = Target::of_task(task_of(*call).as_ref());
                    callsite.register(task.receiver.as_deref());
                }
                self.callsites.push(callsite);
                if self.callsites.len() == MAX_CALLSITES {
                    // The worker process describes no more.
                    report_limit();
                }
                (from.described)(callsite);
            }
            ToParent::Event { call, callsite, parent, values } => {
                self.begin(*call);
                let task = task_of(*call);
                if let Some(callsite) = self.callsite(*callsite, false)? {
                    let values = Values::decode(values, callsite.own_fields)?;
                    let target = self.target(*parent, task.as_ref());
                    emit(callsite, &values, &target, task.as_ref(), from.pid);
                }
            }
            ToParent::SpanOpened { call, span, callsite, parent, values } => {
                self.begin(*call);
                if self.open.contains_key(span) {
                    return Err(Malformed("a span that is open already"));
                }
                let callsite = self.callsite(*callsite, true)?;
                if let Some(callsite) = callsite.filter(|_| self.open.len() < MAX_OPEN_SPANS) {
                    let values = Values::decode(values, callsite.own_fields)?;
                    let task = task_of(*call);
                    let inside = match open(callsite, &values, &self.target(*parent, task.as_ref()))
                    {
                        Some(span) => Inside::Itself(span),
                        // A root that is not wanted leaves the task's own span current.
                        None if *parent == ParentSpan::Root => {
                            Inside::Parent(Target::of_task(task.as_ref()).hold())
                        }
                        None => Inside::Parent(self.target(*parent, task.as_ref()).hold()),
                    };
                    self.open.insert(*span, RemoteSpan { call: *call, callsite, inside });
                }
            }
            ToParent::SpanRecorded { span, values } => {
                if let Some(RemoteSpan { callsite, inside, .. }) = self.open.get(span) {
                    let values = Values::decode(values, callsite.own_fields)?;
                    if let Inside::Itself(Held { receiver, id }) = inside {
                        let fields = callsite.meta().fields();
                        guarded(|| {
                            values.with(fields, &[], |values| {
                                receiver.record(id, &Record::new(values));
                            });
                        });
                    }
                }
            }
            ToParent::SpanFollows { call, span, from } => {
                self.begin(*call);
                let from = self.target(*from, task_of(*call).as_ref());
                if let Some(RemoteSpan { inside: Inside::Itself(Held { receiver, id }), .. }) =
                    self.open.get(span)
                    && let Some(from) = &from.parent
                {
                    guarded(|| receiver.record_follows_from(id, from));
                }
            }
            ToParent::SpanClosed { span } => {
                drop(self.open.remove(span));
                if self.open.is_empty() {
                    self.open.shrink_to(KEPT_CAPACITY);
                }
            }
            ToParent::SpansClosed { call } => self.close_call(*call),
            ToParent::LogRecord { call, record } => {
                self.begin(*call);
                let span = task_of(*call).as_ref().and_then(guarded_span_of);
                guarded(|| log_records::emit(record, span.as_deref()));
            }
            _ => {}
        }
        Ok(())
    }

    /// The worker process runs this call now. It has ended all earlier ones, so their spans are
    /// closed, if it has not done that.
    fn begin(&mut self, call: u64) {
        if call > self.latest_call {
            self.latest_call = call;
            self.close(|span| span.call != 0 && span.call < call);
        }
    }

    /// Closes the spans of a call.
    #[inline]
    pub(crate) fn close_call(&mut self, call: u64) {
        if !self.open.is_empty() {
            self.close(|span| span.call == call);
        }
    }

    /// Closes all spans.
    pub(crate) fn close_all(&mut self) {
        self.close(|_| true);
    }

    /// Closes spans in reverse order, so that most children precede their parents.
    fn close(&mut self, wanted: impl Fn(&RemoteSpan) -> bool) {
        let mut closed: Vec<_> = self.open.extract_if(|_, span| wanted(span)).collect();
        closed.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        // One after the other, from the first.
        closed.into_iter().for_each(drop);
        self.open.shrink_to(KEPT_CAPACITY);
    }

    /// The callsite with this number, if it is forwarded.
    fn callsite(&self, number: u32, is_span: bool) -> Result<Option<&'static Callsite>, Malformed> {
        let callsite = self.callsites.get(number as usize);
        let callsite = callsite.ok_or(Malformed("a callsite that was not described"))?;
        match callsite {
            Some(callsite) if callsite.meta().is_span() != is_span => {
                Err(Malformed("a callsite of another kind"))
            }
            callsite => Ok(*callsite),
        }
    }

    /// What receives the child of this parent.
    fn target(&self, parent: ParentSpan, task: Option<&TaskArc>) -> Target {
        match parent {
            ParentSpan::Task => Target::of_task(task),
            ParentSpan::Root => Target { parent: None, ..Target::of_task(task) },
            ParentSpan::Span(number) => match self.open.get(&number) {
                Some(RemoteSpan { inside: Inside::Itself(held), .. }) => {
                    Target::of_held(Some(held))
                }
                Some(RemoteSpan { inside: Inside::Parent(held), .. }) => {
                    Target::of_held(held.as_ref())
                }
                // Closed meanwhile, or one too many.
                None => Target::of_task(task),
            },
        }
    }
}

/// Opens a span, unless its subscriber does not want it.
fn open(callsite: &'static Callsite, values: &Values<'_>, target: &Target) -> Option<Held> {
    let metadata = callsite.meta();
    let opened = target.with_receiver(|receiver| {
        if !callsite.is_enabled(receiver) {
            return None;
        }
        let id = values.with(metadata.fields(), &[], |values| {
            let attributes = match &target.parent {
                Some(parent) => Attributes::child_of(parent.clone(), metadata, values),
                None => Attributes::new_root(metadata, values),
            };
            receiver.new_span(&attributes)
        });
        Some(Held::new(receiver, id))
    });
    opened.flatten()
}

/// Emits an event.
fn emit(
    callsite: &'static Callsite,
    values: &Values<'_>,
    target: &Target,
    task: Option<&TaskArc>,
    worker: u32,
) {
    let metadata = callsite.meta();
    let node = task.and_then(|task| node_of(task.header()));
    let node = node.as_deref();
    let node = node.as_ref().map(|node| node as &dyn Value);
    let task = task.map(|task| display(task.header().id()));
    let task = task.as_ref().map(|task| task as &dyn Value);
    let more = [
        (callsite.adds_task, task),
        (callsite.adds_worker, Some(&worker as &dyn Value)),
        (callsite.adds_node, node),
    ];
    let more: Vec<_> = more.into_iter().filter(|(adds, _)| *adds).map(|(_, value)| value).collect();
    target.with_receiver(|receiver| {
        if callsite.is_enabled(receiver) {
            values.with(metadata.fields(), &more, |values| {
                receiver.event(&Event::new_child_of(target.parent.clone(), metadata, values));
            });
        }
    });
}
