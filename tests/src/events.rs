//! Records the `tracing` events of the library.

use std::fmt::Debug;
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A recorded event.
#[derive(Clone, Debug)]
pub struct Seen {
    pub level: Level,
    pub message: String,
    fields: Vec<(&'static str, String)>,
}

impl Seen {
    /// The level, message and fields of an event.
    pub fn of(event: &Event<'_>) -> Seen {
        let level = *event.metadata().level();
        let mut seen = Seen { level, message: String::new(), fields: Vec::new() };
        event.record(&mut seen);
        seen
    }

    /// The text of a field, or an empty string if the event does not have it.
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.push((field.name(), text));
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

static SEEN: OnceLock<&'static Mutex<Vec<Seen>>> = OnceLock::new();

/// Records all events of the library from now on, in this process and in its worker processes.
pub fn record() {
    SEEN.get_or_init(|| {
        let seen: &'static Mutex<Vec<Seen>> = Box::leak(Box::default());
        let recorder =
            subscriber(is_of_library, |event| seen.lock().unwrap().push(Seen::of(event)));
        tracing::subscriber::set_global_default(recorder).expect("no other subscriber");
        seen
    });
}

/// The recorded events for which `wanted` returns true.
///
/// # Panics
/// If [`record`] was not called before.
pub fn seen(wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    let seen = SEEN.get().expect("`record` was called").lock().unwrap();
    seen.iter().filter(|event| wanted(event)).cloned().collect()
}

/// A subscriber without spans, which passes the events that `enabled` admits to `on_event`.
pub fn subscriber(
    enabled: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static,
    on_event: impl Fn(&Event<'_>) + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    Events { enabled, on_event }
}

/// Whether an event is one of the library.
pub fn is_of_library(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "atasker"
}

struct Events<E, F> {
    enabled: E,
    on_event: F,
}

impl<E, F> Subscriber for Events<E, F>
where
    E: Fn(&Metadata<'_>) -> bool + 'static,
    F: Fn(&Event<'_>) + 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        (self.enabled)(metadata)
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        (self.on_event)(event);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
