//! Forwards the tracing events of tasks in a worker process to the parent's subscriber, with their
//! level, target and location, and with the task and the worker's process id as fields.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::sync::lock::Mutex;
use tracing_core::callsite::{Callsite, Identifier};
use tracing_core::field::{Field, FieldSet, Value, Visit, display};
use tracing_core::metadata::{Kind, LevelFilter};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

use crate::fork;
use crate::id::TaskId;
use crate::process::worker;
use crate::wire::frame::ToParent;

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

fn number(level: &Level) -> u8 {
    LEVELS.iter().position(|known| known == level).map_or(0, |index| index as u8 + 1)
}

/// The most verbose level that a subscriber of this process is interested in: 0 none, 1 error, .. 5
/// trace.
pub(super) fn level() -> u8 {
    LevelFilter::current().into_level().as_ref().map_or(0, number)
}

/// In a worker process: sends events to the parent from now on.
pub(super) fn install(level: u8) {
    if level > 0 {
        // A subscriber that was set before is kept.
        let _ = dispatcher::set_global_default(Dispatch::new(ForwardToParent { level }));
    }
}

struct ForwardToParent {
    level: u8,
}

impl Subscriber for ForwardToParent {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= self.level && !fork::is_copy()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LEVELS.get(usize::from(self.level - 1)).map_or(LevelFilter::TRACE, |l| (*l).into()))
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        // `enabled` is asked once for each callsite, and perhaps before the fork.
        if fork::is_copy() {
            return;
        }
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        worker::send_to_parent(&ToParent::Event {
            call: worker::current_call(),
            level: number(metadata.level()),
            target: metadata.target(),
            message: &fields.message,
            fields: &fields.fields,
            file: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
        });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The fields of an event as text.
#[derive(Default)]
struct Fields {
    message: String,
    fields: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a `String` can't fail.
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let space = if self.fields.is_empty() { "" } else { " " };
            let _ = write!(self.fields, "{space}{}={value:?}", field.name());
        }
    }
}

/// An event as received from a worker process.
pub(super) struct ForwardedEvent<'a> {
    pub(super) level: u8,
    pub(super) target: &'a str,
    pub(super) message: &'a str,
    pub(super) fields: &'a str,
    pub(super) file: &'a str,
    pub(super) line: u32,
}

/// The callsite of forwarded events. Subscribers require `'static`, so it is leaked, once per
/// location.
struct CallsiteEntry(OnceLock<Metadata<'static>>);

impl Callsite for CallsiteEntry {
    fn set_interest(&self, _interest: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().expect("set before anybody sees the site")
    }
}

const FIELDS: &[&str] = &["message", "task", "worker", "fields"];

type Key = (u8, String, String, u32);

fn callsite(forwarded: &ForwardedEvent<'_>) -> Option<&'static CallsiteEntry> {
    /// The most callsites that are leaked. A valid program does not have more.
    const MAX_CALLSITES: usize = 10_000;
    /// The longest name of a callsite in bytes.
    const MAX_NAME_LEN: usize = 4096;
    static CALLSITES: Mutex<Option<HashMap<Key, &'static CallsiteEntry>>> = Mutex::new(None);
    let level = *LEVELS.get(usize::from(forwarded.level.checked_sub(1)?))?;
    if forwarded.target.len() + forwarded.file.len() > MAX_NAME_LEN {
        return None;
    }
    let key =
        (forwarded.level, forwarded.target.to_owned(), forwarded.file.to_owned(), forwarded.line);
    let mut guard = CALLSITES.lock();
    let sites = guard.get_or_insert_default();
    if let Some(callsite) = sites.get(&key) {
        return Some(callsite);
    }
    if sites.len() >= MAX_CALLSITES {
        return None;
    }
    let callsite: &'static CallsiteEntry = Box::leak(Box::new(CallsiteEntry(OnceLock::new())));
    let target: &'static str = key.1.clone().leak();
    let file: &'static str = key.2.clone().leak();
    let fields = FieldSet::new(FIELDS, Identifier(callsite));
    let name = "event of a worker process";
    let file = (!file.is_empty()).then_some(file);
    let line = (forwarded.line != 0).then_some(forwarded.line);
    callsite
        .0
        .get_or_init(|| Metadata::new(name, target, level, file, line, None, fields, Kind::EVENT));
    sites.insert(key, callsite);
    drop(guard);
    // Registered without a lock, because it calls the subscribers.
    tracing_core::callsite::register(callsite);
    Some(callsite)
}

/// In the parent: passes an event to the subscriber.
pub(super) fn emit(forwarded: &ForwardedEvent<'_>, task: Option<TaskId>, worker: u32) {
    let Some(callsite) = callsite(forwarded) else { return };
    let metadata = callsite.0.get().expect("set before anybody sees the site");
    dispatcher::get_default(|dispatch| {
        if !dispatch.enabled(metadata) {
            return;
        }
        let fields = metadata.fields();
        let mut all = fields.iter();
        let mut next = || all.next().expect("there are four");
        let (message_field, task_field, worker_field, fields_field) =
            (next(), next(), next(), next());
        let message = display(&forwarded.message);
        let task = task.map(display);
        let values: [(&Field, Option<&dyn Value>); 4] = [
            (&message_field, Some(&message)),
            (&task_field, task.as_ref().map(|task| task as &dyn Value)),
            (&worker_field, Some(&worker)),
            (
                &fields_field,
                (!forwarded.fields.is_empty()).then_some(&forwarded.fields as &dyn Value),
            ),
        ];
        dispatch.event(&Event::new(metadata, &fields.value_set(&values)));
    });
}
