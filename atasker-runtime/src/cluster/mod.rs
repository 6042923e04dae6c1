//! Other machines: calls that run on the nodes of a cluster, through a broker.
//!
//! | file | content |
//! |---|---|
//! | `broker` | the door to a broker |
//! | `memory` | the broker in this process, for tests |
//! | `protocol` | what makes a call have exactly one outcome, on any broker |
//! | `door` | what protocol and runtime tell each other |
//! | `place` | the place of remote tasks: launches and verbs |
//! | `call`, `told`, `events` | one call of this process; what becomes of its task; the thread that learns of calls |
//! | `handle`, `info` | the public handle, and what it tells |
//! | `latest` | what was last heard of a cluster, for metrics and the dashboard |
//! | `node` | nodes, which run calls |
//! | `in_memory` | clusters within this process |
//! | `found` | calls that are found again by their id |
//! | `error` | the errors |

use std::time::Duration;

pub(crate) mod broker;
pub(crate) mod call;
pub(crate) mod door;
mod events;
pub(crate) mod found;
pub(crate) mod handle;
mod in_memory;
pub(crate) mod info;
#[cfg_attr(not(any(feature = "metrics", feature = "dashboard")), allow(dead_code))]
pub(crate) mod latest;
pub(crate) mod memory;
pub(crate) mod node;
pub(crate) mod place;
pub(crate) mod protocol;
mod told;

/// The errors, which are part of the vocabulary of tasks.
pub(crate) use crate::cluster_error as error;

/// How long a thread waits for an answer of the cluster.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Returns whether a text can be a part of the key of a record, or the name of a queue.
fn is_token(text: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(is_valid)
}
