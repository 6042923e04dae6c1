//! What only a task on another machine has: how it is to be called, and what is known of its call.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::lock::Mutex;

/// The queue of a task that names none.
pub(crate) const DEFAULT_QUEUE: &str = "default";

/// How often a task is given to another node after its node was lost, unless the task says so.
const DEFAULT_REDELIVER: u32 = 2;

/// See the module's documentation. The options are set by the builder. The place knows the types
/// behind `dyn Any`.
pub(crate) struct Elsewhere {
    /// The names of the types of the result and of the messages.
    pub(crate) types: &'static str,
    pub(crate) queue: Cow<'static, str>,
    pub(crate) redeliver: u32,
    /// How long the unique key stays taken after the end.
    pub(crate) unique_for: Duration,
    /// The cluster that runs the task, instead of the one that its supervisor has joined. Taken by
    /// the launch.
    pub(crate) cluster: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    /// The call that was launched before, by any process: the task is a further handle of it. Taken
    /// by the launch.
    pub(crate) attached: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    /// It was made for a call that was launched before.
    pub(crate) is_attached: bool,
    pub(crate) link: Mutex<Link>,
    pub(crate) seen: Mutex<Seen>,
}

/// Whether a task was handed over to a cluster.
#[derive(Default)]
pub(crate) enum Link {
    /// Not yet: it waits for its delay, for its limit, or for room.
    #[default]
    None,
    /// It never will be.
    Withdrawn,
    /// To the cluster of this call.
    Call(Arc<dyn Any + Send + Sync>),
    /// The call has ended, or goes on without the task. Its cluster is not kept for the task.
    Over,
}

/// What the cluster has reported about a call.
#[derive(Default)]
pub(crate) struct Seen {
    /// The name of the node that runs it, or ran it last.
    pub(crate) node: Option<Arc<str>>,
    pub(crate) losses: u32,
    /// It has begun, and waits for another run.
    pub(crate) waits_again: bool,
    /// The export of metrics that counts it as running; 0 for none.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) counted_by: u64,
    /// The losses that metrics have counted.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) counted_losses: u32,
}

impl Elsewhere {
    pub(crate) fn new(types: &'static str) -> Self {
        Elsewhere {
            types,
            queue: Cow::Borrowed(DEFAULT_QUEUE),
            redeliver: DEFAULT_REDELIVER,
            unique_for: Duration::ZERO,
            cluster: Mutex::default(),
            attached: Mutex::default(),
            is_attached: false,
            link: Mutex::default(),
            seen: Mutex::default(),
        }
    }
}
