//! In a worker process: the subscriber that sends spans and events to the parent.
//!
//! The task's own span is in the parent. Here a *stand-in* represents it: the current span of a
//! thread that has entered none, while it runs the task of a call. So a thread or a nested task that
//! is given `Span::current()` remains inside of the task. Nothing is sent about a stand-in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use tracing_core::callsite::{self, DefaultCallsite, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::metadata::{Kind, LevelFilter};
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::subscriber::{Interest, NoSubscriber};
use tracing_core::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

use super::callsites::length;
use super::values::{MAX_FIELDS, ValueWriter};
use super::{LEVELS, MAX_CALLSITES, MAX_DESCRIPTION, MAX_OPEN_SPANS, log_records, number};
use crate::fork;
use crate::process::worker;
use crate::sync::lock::{Mutex, RwLock};
use crate::unwind::guarded;
use crate::wire::frame::{CallsiteDescription, Filter, MaxLevels, Message, ParentSpan, ToParent};

/// The most verbose level that the parent wants; 0 for none.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The subscriber is installed.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// The program's `worker_init` has returned.
static INITIALIZED: AtomicBool = AtomicBool::new(false);

/// Installs the subscriber if the parent has one. Called before the program's `worker_init`.
pub(crate) fn prepare(levels: MaxLevels) {
    LEVEL.store(levels.tracing, Ordering::Relaxed);
    log_records::set_level(levels.log);
    install();
}

/// In a worker process that was forked from a template: its parent knows nothing of what the template
/// has told, and may want something else since.
pub(crate) fn renew(levels: MaxLevels) {
    let callsites = &mut *CALLSITES.write();
    callsites.numbered.clear();
    for callsite in callsites.by_identifier.iter().flat_map(HashMap::values) {
        callsite.number.store(UNNUMBERED, Ordering::Relaxed);
    }
    // A span that `worker_init` has left open is open in the template only.
    let _ = ENTERED.try_with(|entered| entered.borrow_mut().clear());
    *SPANS.lock() = None;
    let before = LEVEL.swap(levels.tracing, Ordering::Relaxed);
    log_records::set_level(levels.log);
    if before != levels.tracing || levels.log > 0 {
        refresh();
    }
}

/// The program's `worker_init` has returned: installs the logger, and the subscriber if the parent
/// has one since, unless `worker_init` has set others.
pub(crate) fn after_init() {
    INITIALIZED.store(true, Ordering::Release);
    install();
    log_records::install();
}

/// Installs the subscriber, unless none is wanted or there is another one.
fn install() {
    if LEVEL.load(Ordering::Relaxed) == 0 || INSTALLED.load(Ordering::Relaxed) {
        return;
    }
    guarded(|| {
        // Checked first, because tracing would also ask a subscriber that is refused.
        if !dispatcher::get_default(|current| current.is::<NoSubscriber>()) {
            return;
        }
        match dispatcher::set_global_default(Dispatch::new(ForwardToParent)) {
            Ok(()) => INSTALLED.store(true, Ordering::Release),
            Err(_) => callsite::rebuild_interest_cache(),
        }
    });
}

/// Applies what the parent wants from now on. [`refresh`] is to be called after the last of several
/// changes.
pub(crate) fn apply(filter: &Filter) {
    LEVEL.store(filter.levels.tracing, Ordering::Relaxed);
    log_records::set_level(filter.levels.log);
    let callsites = CALLSITES.read();
    for (number, wanted) in &filter.callsites {
        if let Some(callsite) = callsites.numbered.get(*number as usize) {
            callsite.is_wanted.store(*wanted, Ordering::Relaxed);
        }
    }
}

/// Makes tracing ask again about every callsite.
pub(crate) fn refresh() {
    if INITIALIZED.load(Ordering::Acquire) {
        install();
        log_records::install();
    }
    if INSTALLED.load(Ordering::Acquire) {
        // Guarded, because a task may have set its own subscriber.
        guarded(callsite::rebuild_interest_cache);
    }
}

/// A callsite of this process.
struct LocalCallsite {
    /// Otherwise there are too many, or it has too long names.
    is_forwarded: bool,
    is_wanted: AtomicBool,
    /// [`UNNUMBERED`] until it is described. Only accessed while frames are written, so that
    /// callsites are described in the order of their numbers.
    number: AtomicU32,
    metadata: &'static Metadata<'static>,
}

const UNNUMBERED: u32 = u32::MAX;

fn describe(metadata: &'static Metadata<'static>) -> CallsiteDescription<'static> {
    CallsiteDescription {
        is_span: metadata.is_span(),
        level: number(metadata.level()),
        name: metadata.name(),
        target: metadata.target(),
        module_path: metadata.module_path(),
        file: metadata.file(),
        line: metadata.line(),
        fields: metadata.fields().iter().take(MAX_FIELDS).map(|field| field.name()).collect(),
    }
}

/// The callsites that have been used. They are static, so their entries are kept for good.
struct LocalCallsites {
    by_identifier: Option<HashMap<Identifier, &'static LocalCallsite>>,
    /// The number of those that are forwarded.
    forwarded: usize,
    /// Those that were described, by their numbers.
    numbered: Vec<&'static LocalCallsite>,
}

static CALLSITES: RwLock<LocalCallsites> =
    RwLock::new(LocalCallsites { by_identifier: None, forwarded: 0, numbered: Vec::new() });

/// Returns the callsite if it was used before.
fn known(metadata: &Metadata<'_>) -> Option<&'static LocalCallsite> {
    CALLSITES.read().by_identifier.as_ref()?.get(&metadata.callsite()).copied()
}

fn is_level_wanted(metadata: &Metadata<'_>) -> bool {
    number(metadata.level()) <= LEVEL.load(Ordering::Relaxed)
}

/// Returns the callsite if the parent may want what comes from there.
fn wanted(metadata: &'static Metadata<'static>) -> Option<&'static LocalCallsite> {
    if !is_level_wanted(metadata) {
        return None;
    }
    let callsite = known(metadata).unwrap_or_else(|| {
        let mut callsites = CALLSITES.write();
        let LocalCallsites { by_identifier, forwarded, .. } = &mut *callsites;
        by_identifier.get_or_insert_default().entry(metadata.callsite()).or_insert_with(|| {
            let is_forwarded =
                *forwarded < MAX_CALLSITES && length(&describe(metadata)) <= MAX_DESCRIPTION;
            *forwarded += usize::from(is_forwarded);
            Box::leak(Box::new(LocalCallsite {
                is_forwarded,
                is_wanted: AtomicBool::new(is_forwarded),
                number: AtomicU32::new(UNNUMBERED),
                metadata,
            }))
        })
    });
    let is_wanted = callsite.is_forwarded && callsite.is_wanted.load(Ordering::Relaxed);
    is_wanted.then_some(callsite)
}

/// A span of this process whose call has not ended.
struct LocalSpan {
    handles: usize,
    /// The call it belongs to; 0 for none.
    call: u64,
    /// Its parent, which stands in for it if it is not open in the parent process.
    parent: ParentSpan,
    is_sent: bool,
    metadata: &'static Metadata<'static>,
}

/// The table of spans keeps memory for this number of spans after a call.
const KEPT_CAPACITY: usize = 256;

/// The spans of this process, by their numbers. Frames about opened and closed spans are sent with
/// this lock held, so that they are in order.
#[derive(Default)]
struct LocalSpans {
    spans: HashMap<u64, LocalSpan>,
    /// Those that are open in the parent process.
    sent: usize,
}

static SPANS: Mutex<Option<LocalSpans>> = Mutex::new(None);

/// The call in progress; 0 for none.
static CALL: AtomicU64 = AtomicU64::new(0);

/// The numbers of spans. 0 is not a number.
static NEXT_SPAN: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The spans that this thread has entered, the current one last.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The bit of the number of a stand-in; the other bits are its call.
const STAND_IN: u64 = 1 << 63;
/// The number of a span that nothing is known about.
const UNKNOWN: u64 = u64::MAX;

/// A call begins on this thread.
#[inline]
pub(crate) fn begin_call(call: u64) {
    CALL.store(call, Ordering::Relaxed);
}

/// The call that has begun on this thread is about to end: closes the spans that it has left open.
#[inline]
pub(crate) fn end_call(call: u64) {
    if INSTALLED.load(Ordering::Relaxed) {
        close_spans(call);
    } else {
        CALL.store(0, Ordering::Relaxed);
    }
}

fn close_spans(call: u64) {
    let _ = ENTERED.try_with(|entered| entered.borrow_mut().clear());
    let mut spans = SPANS.lock();
    // With the lock, so that no other thread opens a span of this call after it has ended.
    CALL.store(0, Ordering::Relaxed);
    let LocalSpans { spans, sent } = spans.get_or_insert_default();
    let ended = spans.extract_if(|_, span| span.call == call);
    let closed = ended.filter(|(_, span)| span.is_sent).count();
    *sent -= closed;
    spans.shrink_to(KEPT_CAPACITY);
    if closed > 0 {
        worker::send_to_parent(&ToParent::SpansClosed { call });
    }
}

/// Where a span or event belongs.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) call: u64,
    pub(super) parent: ParentSpan,
}

/// Where this thread is.
#[allow(dead_code)] // Without the feature `log`.
pub(super) fn context() -> Context {
    context_in(SPANS.lock().get_or_insert_default())
}

fn context_in(spans: &LocalSpans) -> Context {
    let at_top = Context { call: worker::current_call(), parent: ParentSpan::Task };
    let entered = ENTERED.try_with(|entered| {
        entered.borrow().iter().rev().find_map(|span| context_inside(spans, *span))
    });
    entered.ok().flatten().unwrap_or(at_top)
}

/// The context inside of a span. `None` if it, or its call, has ended.
fn context_inside(spans: &LocalSpans, span: u64) -> Option<Context> {
    if span & STAND_IN != 0 {
        let call = span & !STAND_IN;
        let is_current = call != 0 && call == CALL.load(Ordering::Relaxed);
        return is_current.then_some(Context { call, parent: ParentSpan::Task });
    }
    let entry = spans.spans.get(&span)?;
    let parent = if entry.is_sent { ParentSpan::Span(span) } else { entry.parent };
    Some(Context { call: entry.call, parent })
}

/// The context of a new span or an event, with the parent that it names.
fn context_of(spans: &LocalSpans, parent: Option<&Id>, is_root: bool) -> Context {
    match parent {
        Some(parent) => {
            context_inside(spans, parent.into_u64()).unwrap_or_else(|| context_in(spans))
        }
        None if is_root => Context { parent: ParentSpan::Root, ..context_in(spans) },
        None => context_in(spans),
    }
}

/// Sends a frame that refers to a callsite by its number, behind the description of the callsite.
fn send<'a>(callsite: &'static LocalCallsite, call: u64, frame: impl FnOnce(u32) -> ToParent<'a>) {
    worker::send_frames_to_parent(|buffer| {
        let mut number = callsite.number.load(Ordering::Relaxed);
        let is_new = number == UNNUMBERED;
        if is_new {
            let mut callsites = CALLSITES.write();
            number = callsites.numbered.len() as u32;
            callsites.numbered.push(callsite);
            callsite.number.store(number, Ordering::Relaxed);
            let description = describe(callsite.metadata);
            ToParent::Callsite { call, number, description }.write(buffer);
        }
        frame(number).write(buffer);
        1 + u64::from(is_new)
    });
}

/// The callsite of stand-ins.
static STAND_IN_CALLSITE: DefaultCallsite = DefaultCallsite::new(&STAND_IN_METADATA);
static STAND_IN_METADATA: Metadata<'static> = Metadata::new(
    "task",
    "atasker",
    Level::INFO,
    None,
    None,
    None,
    FieldSet::new(&[], Identifier(&STAND_IN_CALLSITE)),
    Kind::SPAN,
);

struct ForwardToParent;

impl Subscriber for ForwardToParent {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Nothing dynamic: after each change, tracing asks again.
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Not in a copy, where a lock may be held for ever.
        is_level_wanted(metadata)
            && !fork::is_copy()
            && known(metadata).is_none_or(|callsite| callsite.is_wanted.load(Ordering::Relaxed))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let level = usize::from(LEVEL.load(Ordering::Relaxed));
        let level = level.checked_sub(1).map(|index| LEVELS.get(index).copied());
        Some(level.map_or(LevelFilter::OFF, |level| level.unwrap_or(Level::TRACE).into()))
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        if fork::is_copy() {
            return Id::from_u64(UNKNOWN);
        }
        let metadata = attributes.metadata();
        let callsite = wanted(metadata);
        let mut values = ValueWriter::default();
        if callsite.is_some() {
            attributes.record(&mut values);
        }
        let values = values.finish();
        let span = NEXT_SPAN.fetch_add(1, Ordering::Relaxed);
        let mut spans = SPANS.lock();
        let spans = spans.get_or_insert_default();
        let Context { call, parent } = context_of(spans, attributes.parent(), attributes.is_root());
        let is_sent = match callsite {
            Some(callsite) if spans.sent < MAX_OPEN_SPANS => {
                spans.sent += 1;
                let values = &values;
                send(callsite, call, |callsite| ToParent::SpanOpened {
                    call,
                    span,
                    callsite,
                    parent,
                    values,
                });
                true
            }
            _ => false,
        };
        spans.spans.insert(span, LocalSpan { handles: 1, call, parent, is_sent, metadata });
        Id::from_u64(span)
    }

    fn record(&self, span: &Id, record: &Record<'_>) {
        let span = span.into_u64();
        if fork::is_copy() || !is_sent(span) {
            return;
        }
        let mut values = ValueWriter::default();
        record.record(&mut values);
        worker::send_to_parent(&ToParent::SpanRecorded { span, values: &values.finish() });
    }

    fn record_follows_from(&self, span: &Id, from: &Id) {
        let span = span.into_u64();
        if fork::is_copy() || !is_sent(span) {
            return;
        }
        let from = context_inside(SPANS.lock().get_or_insert_default(), from.into_u64());
        if let Some(Context { call, parent: from }) = from {
            worker::send_to_parent(&ToParent::SpanFollows { call, span, from });
        }
    }

    fn event(&self, event: &Event<'_>) {
        // Checked here, because `enabled` may have been asked before the fork.
        if fork::is_copy() {
            return;
        }
        let Some(callsite) = wanted(event.metadata()) else { return };
        let mut values = ValueWriter::default();
        event.record(&mut values);
        let Context { call, parent } =
            context_of(SPANS.lock().get_or_insert_default(), event.parent(), event.is_root());
        let values = &values.finish();
        send(callsite, call, |callsite| ToParent::Event { call, callsite, parent, values });
    }

    fn enter(&self, span: &Id) {
        let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            // Spans may be exited in another order than they were entered.
            if let Some(index) = entered.iter().rposition(|entered| *entered == span.into_u64()) {
                entered.remove(index);
            }
        });
    }

    fn clone_span(&self, span: &Id) -> Id {
        if !fork::is_copy()
            && let Some(entry) =
                SPANS.lock().get_or_insert_default().spans.get_mut(&span.into_u64())
        {
            entry.handles += 1;
        }
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        if fork::is_copy() {
            return false;
        }
        let span = span.into_u64();
        let mut spans = SPANS.lock();
        let LocalSpans { spans, sent } = spans.get_or_insert_default();
        let Some(entry) = spans.get_mut(&span) else { return false };
        entry.handles -= 1;
        if entry.handles > 0 {
            return false;
        }
        if entry.is_sent {
            *sent -= 1;
            worker::send_to_parent(&ToParent::SpanClosed { span });
        }
        spans.remove(&span);
        true
    }

    fn current_span(&self) -> Current {
        if fork::is_copy() {
            return Current::none();
        }
        let spans = &mut *SPANS.lock();
        let spans = spans.get_or_insert_default();
        let stand_in = |call: u64| Current::new(Id::from_u64(STAND_IN | call), &STAND_IN_METADATA);
        let entered = ENTERED.try_with(|entered| {
            entered.borrow().iter().rev().find_map(|span| {
                let Context { call, .. } = context_inside(spans, *span)?;
                Some(match spans.spans.get(span) {
                    Some(entry) => Current::new(Id::from_u64(*span), entry.metadata),
                    None => stand_in(call),
                })
            })
        });
        match (entered.ok().flatten(), worker::current_call()) {
            (Some(current), _) => current,
            (None, 0) => Current::none(),
            (None, call) => stand_in(call),
        }
    }
}

/// Whether a span is open in the parent process.
fn is_sent(span: u64) -> bool {
    SPANS.lock().get_or_insert_default().spans.get(&span).is_some_and(|span| span.is_sent)
}
