//! A broker in this process, whose failures can be scripted: for `Cluster::in_memory`, and for the
//! tests of the protocol.
//!
//! | module | what |
//! |---|---|
//! | `hub` | the broker, and how it delivers to connections |
//! | `store`, `queues` | what it keeps |
//! | `connection`, `way` | a member's connection to it: the implementation of [`Broker`] |
//! | `inbox` | what is on its way to a member |
//! | `script`, `faults` | the failures, and their public face |
//!
//! The broker has no thread. Time passes by tokio's clock: an entry that was given out for too long
//! waits again when someone pulls, and what is delayed is delivered on the runtime of its receiver.
//! So tests with a paused clock run hours of traffic in an instant, in an order that depends on the
//! seed alone.

use std::sync::Arc;
use std::time::Duration;

use super::broker::Broker;

mod connection;
mod faults;
mod hub;
mod inbox;
mod queues;
mod script;
mod store;
#[cfg(test)]
mod tests;
mod way;

pub use faults::Faults;
pub(crate) use hub::{Hub, MemoryOptions};

/// Returns a function that connects members to a new broker, by their names. For the tests that all
/// brokers share.
pub fn in_memory(lost_after: Duration) -> impl Fn(&str) -> Arc<dyn Broker> {
    let mut options = MemoryOptions::default();
    options.limits.lost_after = lost_after;
    options.limits.redeliver_after = options.limits.redeliver_after.min(lost_after / 2);
    let hub = Hub::new(options);
    move |name| hub.connect(name)
}
