//! What only a task on another machine has: how it is to be called, and what is known of its call.

use std::any::Any;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::sync::lock::Mutex;

/// The queue of a task that names none.
pub(crate) const DEFAULT_QUEUE: &str = "default";

/// How often a task is given to another node after its node was lost, unless the task says so.
const DEFAULT_REDELIVER: u32 = 2;

/// See the module's documentation. The options are set by the builder.
pub(crate) struct Elsewhere {
    /// The names of the types of the result and of the messages.
    pub(crate) types: &'static str,
    pub(crate) queue: Cow<'static, str>,
    pub(crate) redeliver: u32,
    /// How long the unique key stays taken after the end.
    pub(crate) unique_for: Duration,
    /// The cluster that runs the task, instead of the one that its supervisor has joined. The place
    /// knows the type.
    pub(crate) cluster: Option<Arc<dyn Any + Send + Sync>>,
    /// The call, as the place keeps it, once the task was handed over to a cluster.
    pub(crate) call: OnceLock<Arc<dyn Any + Send + Sync>>,
    pub(crate) seen: Mutex<Seen>,
}

/// What the cluster has reported about a call.
#[derive(Default)]
pub(crate) struct Seen {
    /// The name of the node that runs it, or ran it last.
    pub(crate) node: Option<Arc<str>>,
    pub(crate) losses: u32,
    /// It has begun, and waits for another run.
    pub(crate) waits_again: bool,
}

impl Elsewhere {
    pub(crate) fn new(types: &'static str) -> Self {
        Elsewhere {
            types,
            queue: Cow::Borrowed(DEFAULT_QUEUE),
            redeliver: DEFAULT_REDELIVER,
            unique_for: Duration::ZERO,
            cluster: None,
            call: OnceLock::new(),
            seen: Mutex::default(),
        }
    }
}
