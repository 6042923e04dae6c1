//! The thread of a node: what must not be done on the thread of the cluster, because it may run code
//! of the user's.

use std::io;
use std::sync::mpsc;

use crate::unwind::{guarded, log};

type Command = Box<dyn FnOnce() + Send>;

/// Sends commands to the thread, which ends when this is dropped.
pub(super) struct Commands(mpsc::Sender<Command>);

impl Commands {
    /// Starts the thread of the node with this name.
    ///
    /// # Errors
    ///
    /// Returns an error if the system can't start a thread.
    pub(super) fn start(node: &str) -> io::Result<Commands> {
        let (sender, commands) = mpsc::channel::<Command>();
        std::thread::Builder::new()
            .name(format!("atasker node {node}"))
            .spawn(move || commands.into_iter().for_each(|command| guarded(command)))?;
        Ok(Commands(sender))
    }

    /// Has a command carried out after those that were sent before.
    pub(super) fn send(&self, command: impl FnOnce() + Send + 'static) {
        if self.0.send(Box::new(command)).is_err() {
            // The thread ends only with the process, or with `self`.
            log!(error, "the thread of a node has ended");
        }
    }
}
