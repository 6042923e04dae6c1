//! Clusters of [atasker](https://docs.rs/atasker) on [NATS](https://nats.io): the builder [`Nats`],
//! and the door to JetStream behind it.
//!
//! Use the crate `atasker` with its feature `nats`, which exports [`Nats`] and [`Storage`].
//!
//! ```text
//!  nats, url        the builder: what to connect to, and with which settings
//!  connect          one connection, a look at the server, the streams
//!  link             the connection: requests and replies, what is sent without an answer, events
//!  api              requests to JetStream, and the meaning of its errors
//!  layout           names, subjects and settings of the streams and consumers
//!  records, watch   stream S: values with compare-and-set, and their changes
//!  queue, pull      stream Q: entries, and requests for them
//!  store            streams B and D: blocks and dead letters
//!  incarnation      what one member does after the server has started anew
//!  broker           all of it as a `Broker`
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod broker;
mod clock;
mod connect;
mod gate;
mod incarnation;
mod inner;
mod layout;
mod link;
mod nats;
mod pull;
mod queue;
mod records;
mod store;
mod url;
mod watch;

pub use nats::{Nats, Storage};

/// For the tests of this crate. Changes with every version.
#[doc(hidden)]
pub mod __test {
    pub use crate::connect::Failure;
}
