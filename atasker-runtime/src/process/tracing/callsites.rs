//! In the parent: the callsites of worker processes, as the program's subscribers know them.
//!
//! Subscribers require callsites that live forever. So a callsite is kept for good, once for each
//! description, however many worker processes describe it, and their number is limited.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_core::callsite::{self, DefaultCallsite, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::metadata::{Kind, LevelFilter};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Metadata, dispatcher};

use super::values::MAX_FIELDS;
use super::{LEVELS, MAX_CALLSITES, MAX_DESCRIPTION};
use crate::sync::lock::Mutex;
use crate::unwind::{guarded, log};
use crate::wire::field::Malformed;
use crate::wire::frame::CallsiteDescription;

/// A callsite of worker processes.
pub(crate) struct Callsite {
    metadata: OnceLock<Metadata<'static>>,
    /// What is registered. tracing keeps callsites of this type in a list without a lock, and keeps
    /// no other lock while it asks the subscribers about them.
    registered: OnceLock<DefaultCallsite>,
    /// The number of its fields, without those that the parent adds.
    pub(super) own_fields: usize,
    /// The parent adds this field.
    pub(super) adds_task: bool,
    /// The parent adds this field.
    pub(super) adds_worker: bool,
    /// The parent adds this field, with a value in the program of a node only.
    pub(super) adds_node: bool,
}

impl std::fmt::Debug for Callsite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.metadata.get().fmt(f)
    }
}

impl callsite::Callsite for Callsite {
    fn set_interest(&self, interest: Interest) {
        if let Some(registered) = self.registered.get() {
            registered.set_interest(interest);
        }
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("set before the callsite is known to anything")
    }
}

impl Callsite {
    pub(super) fn meta(&'static self) -> &'static Metadata<'static> {
        self.metadata.get().expect("set before the callsite is known to anything")
    }

    /// Registers the callsite with the program's subscribers, unless it is registered. Calls them,
    /// and `receiver` even if it is not the default of this thread.
    pub(super) fn register(&'static self, receiver: Option<&Dispatch>) {
        let registered = self.registered.get_or_init(|| DefaultCallsite::new(self.meta()));
        // If a subscriber panics, tracing takes the callsite for one that is wanted sometimes.
        guarded(|| {
            let register = || registered.register();
            match receiver {
                Some(receiver) => dispatcher::with_default(receiver, register),
                None => register(),
            };
        });
    }

    /// The interest of the program's subscribers. Calls none of them.
    fn interest(&'static self) -> Interest {
        match self.registered.get() {
            Some(registered) => registered.interest(),
            None => Interest::sometimes(),
        }
    }

    /// Whether a subscriber of the program may want what comes from here.
    pub(super) fn is_wanted(&'static self) -> bool {
        !self.interest().is_never()
    }

    /// Whether this subscriber wants what comes from here now. The same question that tracing's
    /// macros ask.
    pub(super) fn is_enabled(&'static self, receiver: &Dispatch) -> bool {
        let metadata = self.meta();
        if *metadata.level() > LevelFilter::current() {
            return false;
        }
        let interest = self.interest();
        !interest.is_never() && (interest.is_always() || receiver.enabled(metadata))
    }
}

type Callsites = HashMap<CallsiteDescription<'static>, &'static Callsite>;

static CALLSITES: Mutex<Option<Callsites>> = Mutex::new(None);

/// Returns the callsite with this description, or `None` if the description is too long, or there
/// are too many callsites.
pub(super) fn intern(
    description: &CallsiteDescription<'_>,
) -> Result<Option<&'static Callsite>, Malformed> {
    let level = description.level.checked_sub(1).and_then(|index| LEVELS.get(usize::from(index)));
    let level = *level.ok_or(Malformed("a callsite with an invalid level"))?;
    if length(description) > MAX_DESCRIPTION || description.fields.len() > MAX_FIELDS {
        return Ok(None);
    }
    let mut guard = CALLSITES.lock();
    let callsites = guard.get_or_insert_default();
    {
        // A map whose keys live forever is also one whose keys live as long as the description.
        let callsites: &HashMap<CallsiteDescription<'_>, _> = callsites;
        if let Some(callsite) = callsites.get(description) {
            return Ok(Some(*callsite));
        }
    }
    if callsites.len() >= MAX_CALLSITES {
        drop(guard);
        report_limit();
        return Ok(None);
    }
    let forever = leaked(description);
    let callsite = leaked_callsite(&forever, level);
    callsites.insert(forever, callsite);
    Ok(Some(callsite))
}

/// Reports once that the maximum number of callsites is reached, here or in a worker process.
pub(super) fn report_limit() {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    if !REPORTED.swap(true, Ordering::Relaxed) {
        log!(
            warn,
            "worker processes open spans and emit events at {MAX_CALLSITES} places: those at \
             further ones are not forwarded"
        );
    }
}

/// The length of all texts of a description in bytes.
pub(super) fn length(description: &CallsiteDescription<'_>) -> usize {
    let CallsiteDescription { name, target, module_path, file, fields, .. } = description;
    let options = [module_path, file].into_iter().flatten();
    [name, target].into_iter().chain(options).chain(fields).map(|text| text.len()).sum()
}

fn leaked(description: &CallsiteDescription<'_>) -> CallsiteDescription<'static> {
    let text = |text: &str| -> &'static str { text.to_owned().leak() };
    CallsiteDescription {
        is_span: description.is_span,
        level: description.level,
        name: text(description.name),
        target: text(description.target),
        module_path: description.module_path.map(text),
        file: description.file.map(text),
        line: description.line,
        fields: description.fields.iter().map(|name| text(name)).collect(),
    }
}

fn leaked_callsite(
    description: &CallsiteDescription<'static>,
    level: tracing_core::Level,
) -> &'static Callsite {
    let mut fields = description.fields.clone();
    let own_fields = fields.len();
    let mut add = |name| {
        let adds = !description.is_span && !fields.contains(&name);
        if adds {
            fields.push(name);
        }
        adds
    };
    let (adds_task, adds_worker, adds_node) = (add("task"), add("worker"), add("node"));
    let callsite: &'static Callsite = Box::leak(Box::new(Callsite {
        metadata: OnceLock::new(),
        registered: OnceLock::new(),
        own_fields,
        adds_task,
        adds_worker,
        adds_node,
    }));
    callsite.metadata.get_or_init(|| {
        Metadata::new(
            description.name,
            description.target,
            level,
            description.file,
            description.line,
            description.module_path,
            FieldSet::new(fields.leak(), Identifier(callsite)),
            if description.is_span { Kind::SPAN } else { Kind::EVENT },
        )
    });
    callsite
}
