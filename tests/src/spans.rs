//! Records `tracing` spans and events, with their places, parents and typed fields.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// A recorded span or event.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The number of a span; 0 for an event.
    pub id: u64,
    pub name: String,
    pub level: Level,
    pub target: String,
    pub module_path: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// The number of its parent.
    pub parent: Option<u64>,
    /// Each field as its name, its type and its value.
    pub fields: Vec<(String, &'static str, String)>,
    pub follows: Vec<u64>,
    pub entered: usize,
    pub is_closed: bool,
}

impl Entry {
    fn new(metadata: &Metadata<'_>, id: u64, parent: Option<u64>) -> Entry {
        Entry {
            id,
            name: metadata.name().to_owned(),
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            module_path: metadata.module_path().map(ToOwned::to_owned),
            file: metadata.file().map(ToOwned::to_owned),
            line: metadata.line(),
            parent,
            fields: Vec::new(),
            follows: Vec::new(),
            entered: 0,
            is_closed: false,
        }
    }

    /// The value of a field as text, or an empty string if the entry does not have it.
    pub fn field(&self, name: &str) -> &str {
        self.typed(name).1
    }

    /// The type and the value of a field, or empty strings if the entry does not have it.
    pub fn typed(&self, name: &str) -> (&'static str, &str) {
        let field = self.fields.iter().rfind(|(key, ..)| key == name);
        field.map_or(("", ""), |(_, kind, value)| (kind, value))
    }

    /// The message of an event.
    pub fn message(&self) -> &str {
        self.field("message")
    }

    fn push(&mut self, field: &Field, kind: &'static str, value: String) {
        self.fields.push((field.name().to_owned(), kind, value));
    }
}

impl Visit for Entry {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, "i64", value.to_string());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, "u64", value.to_string());
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, "i128", value.to_string());
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, "u128", value.to_string());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, "f64", value.to_string());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, "bool", value.to_string());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, "str", value.to_owned());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let chain = std::iter::successors(Some(value), |error| (*error).source());
        let texts: Vec<_> = chain.map(ToString::to_string).collect();
        self.push(field, "error", texts.join(": "));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, "debug", format!("{value:?}"));
    }
}

/// A layer that records everything.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    all: Vec<Entry>,
    /// Where the spans are. Numbers are used again once a span is closed.
    spans: HashMap<u64, usize>,
}

impl Recorder {
    /// The recorder of this program, which is its global subscriber. Not for worker processes.
    ///
    /// # Panics
    /// If there is another subscriber.
    pub fn global() -> &'static Recorder {
        static RECORDER: LazyLock<Recorder> = LazyLock::new(|| {
            let recorder = Recorder::default();
            let subscriber = tracing_subscriber::registry().with(recorder.clone());
            tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
            recorder
        });
        &RECORDER
    }

    /// The recorded spans with this name, in the order in which they were opened.
    pub fn spans(&self, name: &str) -> Vec<Entry> {
        self.all(|entry| entry.id != 0 && entry.name == name)
    }

    /// The only span with this name.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn span(&self, name: &str) -> Entry {
        only(self.spans(name), name)
    }

    /// The recorded events with this message.
    pub fn events(&self, message: &str) -> Vec<Entry> {
        self.all(|entry| entry.id == 0 && entry.message() == message)
    }

    /// The only event with this message.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn event(&self, message: &str) -> Entry {
        only(self.events(message), message)
    }

    /// The recorded spans and events for which `wanted` returns true.
    pub fn all(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.0.lock().unwrap().all.iter().filter(|entry| wanted(entry)).cloned().collect()
    }

    fn with_span(&self, id: &Id, change: impl FnOnce(&mut Entry)) {
        let Entries { all, spans } = &mut *self.0.lock().unwrap();
        change(&mut all[spans[&id.into_u64()]]);
    }
}

#[track_caller]
fn only(mut found: Vec<Entry>, what: &str) -> Entry {
    assert_eq!(found.len(), 1, "{what}: {found:#?}");
    found.remove(0)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| span.parent()).map(|span| span.id());
        let parent = parent.map(|id| id.into_u64());
        let mut entry = Entry::new(attributes.metadata(), id.into_u64(), parent);
        attributes.record(&mut entry);
        let Entries { all, spans } = &mut *self.0.lock().unwrap();
        spans.insert(entry.id, all.len());
        all.push(entry);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.with_span(id, |span| values.record(span));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        self.with_span(id, |span| span.follows.push(follows.into_u64()));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let parent = context.event_span(event).map(|span| span.id().into_u64());
        let mut entry = Entry::new(event.metadata(), 0, parent);
        event.record(&mut entry);
        self.0.lock().unwrap().all.push(entry);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.with_span(id, |span| span.entered += 1);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.with_span(&id, |span| span.is_closed = true);
    }
}
