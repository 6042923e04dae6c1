//! A broker in this process, whose failures can be scripted: for `Cluster::in_memory`, and for the
//! tests of the protocol.
//!
//! | module | what |
//! |---|---|
//! | `hub` | the broker, and how it delivers to connections |
//! | `store`, `queues` | what it keeps |
//! | `connection` | a member's way to it: the implementation of [`Broker`](super::broker::Broker) |
//! | `inbox` | what is on its way to a member |
//! | `script`, `faults` | the failures, and their public face |
//!
//! The broker has no thread. Time passes by tokio's clock: an entry that was given out for too long
//! waits again when someone pulls, and what is delayed is delivered on the runtime of its receiver.
//! So tests with a paused clock run hours of traffic in an instant, in an order that depends on the
//! seed alone.

mod connection;
mod faults;
mod hub;
mod inbox;
mod queues;
mod script;
mod store;
#[cfg(test)]
mod tests;

pub use faults::Faults;
pub(crate) use hub::{Hub, MemoryOptions};
