//! Tracing events of tasks in a worker process: they reach the parent's subscriber, with level,
//! target and place as they were, and with the task and the worker's process id as fields.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_core::callsite::{Callsite, Identifier};
use tracing_core::field::{Field, FieldSet, Value, Visit, display};
use tracing_core::metadata::{Kind, LevelFilter};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

use crate::id::TaskId;
use crate::process::child;
use crate::wire::frame::ToParent;

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

fn number(level: &Level) -> u8 {
    LEVELS.iter().position(|known| known == level).map_or(0, |index| index as u8 + 1)
}

/// The most verbose level that anybody listens to in this process: 0 none, 1 error, .. 5 trace.
pub(super) fn level() -> u8 {
    LevelFilter::current().into_level().as_ref().map_or(0, number)
}

/// In a worker process: sends events to the parent from now on.
pub(super) fn install(level: u8) {
    if level > 0 {
        // A subscriber that somebody has set before stays.
        let _ = dispatcher::set_global_default(Dispatch::new(ToTheParent { level }));
    }
}

struct ToTheParent {
    level: u8,
}

impl Subscriber for ToTheParent {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= self.level
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
        let metadata = event.metadata();
        let mut words = Words::default();
        event.record(&mut words);
        child::tell(&ToParent::Event {
            call: child::current_call(),
            level: number(metadata.level()),
            target: metadata.target(),
            message: &words.message,
            fields: &words.fields,
            file: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
        });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// An event's fields as text.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String does not fail.
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let space = if self.fields.is_empty() { "" } else { " " };
            let _ = write!(self.fields, "{space}{}={value:?}", field.name());
        }
    }
}

/// An event as a worker process has told it.
pub(super) struct Told<'a> {
    pub(super) level: u8,
    pub(super) target: &'a str,
    pub(super) message: &'a str,
    pub(super) fields: &'a str,
    pub(super) file: &'a str,
    pub(super) line: u32,
}

/// A place that events come from. Subscribers want it for good, so it is leaked, once per place.
struct Site(OnceLock<Metadata<'static>>);

impl Callsite for Site {
    fn set_interest(&self, _interest: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().expect("set before anybody sees the site")
    }
}

const FIELDS: &[&str] = &["message", "task", "worker", "fields"];

type Key = (u8, String, String, u32);

fn site(told: &Told<'_>) -> Option<&'static Site> {
    /// A program has so many places at most; what comes beyond that is rubbish.
    const MOST: usize = 10_000;
    /// And they have names of such a length.
    const LONGEST: usize = 4096;
    static SITES: Mutex<Option<HashMap<Key, &'static Site>>> = Mutex::new(None);
    let level = *LEVELS.get(usize::from(told.level.checked_sub(1)?))?;
    if told.target.len() + told.file.len() > LONGEST {
        return None;
    }
    let key = (told.level, told.target.to_owned(), told.file.to_owned(), told.line);
    let mut sites = SITES.lock();
    let sites = sites.get_or_insert_default();
    if let Some(site) = sites.get(&key) {
        return Some(site);
    }
    if sites.len() >= MOST {
        return None;
    }
    let site: &'static Site = Box::leak(Box::new(Site(OnceLock::new())));
    let target: &'static str = key.1.clone().leak();
    let file: &'static str = key.2.clone().leak();
    let fields = FieldSet::new(FIELDS, Identifier(site));
    let name = "event of a worker process";
    let file = (!file.is_empty()).then_some(file);
    let line = (told.line != 0).then_some(told.line);
    site.0
        .get_or_init(|| Metadata::new(name, target, level, file, line, None, fields, Kind::EVENT));
    tracing_core::callsite::register(site);
    sites.insert(key, site);
    Some(site)
}

/// In the parent: gives an event to the subscriber.
pub(super) fn emit(told: &Told<'_>, task: Option<TaskId>, worker: u32) {
    let Some(site) = site(told) else { return };
    let metadata = site.0.get().expect("set before anybody sees the site");
    dispatcher::get_default(|dispatch| {
        if !dispatch.enabled(metadata) {
            return;
        }
        let fields = metadata.fields();
        let mut all = fields.iter();
        let mut next = || all.next().expect("there are four");
        let (message_field, task_field, worker_field, fields_field) =
            (next(), next(), next(), next());
        let message = format_args!("{}", told.message);
        let task = task.map(display);
        let values: [(&Field, Option<&dyn Value>); 4] = [
            (&message_field, Some(&message)),
            (&task_field, task.as_ref().map(|task| task as &dyn Value)),
            (&worker_field, Some(&worker)),
            (&fields_field, (!told.fields.is_empty()).then_some(&told.fields as &dyn Value)),
        ];
        dispatch.event(&Event::new(metadata, &fields.value_set(&values)));
    });
}
