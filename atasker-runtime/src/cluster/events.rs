//! The thread on which the handles of a cluster learn of their calls.
//!
//! The end of a call runs code of the user: it decodes the result, drops values, calls observers and
//! wakers. None of that may delay the connection to the broker, so it does not run on the thread of
//! the cluster. Each cluster has one thread for it, so a decoder that blocks delays its own cluster
//! and no other.

use std::io;
use std::sync::{Arc, mpsc};

use super::call::Call;
use super::door::CallEvent;
use crate::fork;
use crate::task::TaskArc;
use crate::unwind;

/// Something to be done on the thread, about one call.
pub(super) enum Item {
    Event(CallEvent),
    /// The call is one of this task from now on.
    Bind(TaskArc),
    /// Nothing more will be told of the call, although its end was not.
    Forgotten,
}

/// Passes items to the thread, which ends when this is dropped and all items are handled.
pub(super) struct Events(mpsc::Sender<(Arc<Call>, Item)>);

impl Events {
    /// Starts the thread.
    pub(super) fn start(namespace: &str) -> io::Result<Events> {
        let (sender, items) = mpsc::channel::<(Arc<Call>, Item)>();
        std::thread::Builder::new().name(format!("atasker calls {namespace}")).spawn(
            move || {
                for (call, item) in items {
                    // The last reference to a task, or to the cluster, may be dropped here, too.
                    unwind::guarded(move || call.handle(item));
                    fork::end_if_copy();
                }
            },
        )?;
        Ok(Events(sender))
    }

    pub(super) fn push(&self, call: Arc<Call>, item: Item) {
        // The thread lives as long as this sender, except in a forked process.
        let _ = self.0.send((call, item));
    }
}
