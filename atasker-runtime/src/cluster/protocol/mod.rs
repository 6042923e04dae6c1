//! The protocol of a cluster: how calls are launched, claimed, run and ended, over a
//! [`Broker`](super::broker::Broker).
//!
//! # The record of a call
//!
//! A call waits as an *entry* in a queue, and has one *record*. The queue only delivers, perhaps more
//! than once. The record is the truth: it is changed by compare-and-set only, so that of all those who
//! want to change it one succeeds, and the others look again.
//!
//! ```text
//!                 claim                     the run has ended for good
//!   (no record) ---------> Running ------------------------------------> Ended
//!        |                  |    ^                                        ^ ^
//!        |  ended badly,    |    |  claim, when its time has come         | |
//!        |  handed back,    v    |                                        | |
//!        |  cut off       Waiting ----------------------------------------' |
//!        |                          canceled                                |
//!        '------------------------------------------------------------------'
//!                   canceled, expired
//!
//!   Running ---> Running   its node is lost: another one claims it
//!   Running ---> Ended     its node is lost, and it may not run again; or is gone, and it is canceled
//! ```
//!
//! From `Running`, only the node in the record goes on, until others take it for lost. From `Ended`,
//! nothing goes on. A node begins to run a call only after its claim is acknowledged, which is what
//! makes `cancel` exact: once `Canceled` is written, all claims are refused.
//!
//! # The way of a call
//!
//! 1. [`session`]: `submit` hands it to the thread of the cluster.
//! 2. [`launcher::submit`](launcher): its unique key, its arguments if they are large, its entry.
//! 3. [`node::take`](node): a node that has room pulls the entry.
//! 4. [`node::claim`](node): it writes `Running` to the record. If another node is there, it finds out
//!    whether that one is lost.
//! 5. [`node::hold`](node): it begins the run, watches over it, and keeps the delivery meanwhile.
//! 6. [`node::finish`](node): it writes `Waiting` or `Ended`, and then acknowledges the entry.
//! 7. [`launcher::calls`](launcher): the launcher, which watches the records of its calls, hears of
//!    the claim and of the end, and tells them to the sink.
//!
//! Items between a running task and its handle (messages, progress) go directly from member to member:
//! [`link`]. So do requests to a node about a call that it holds: [`control`].
//!
//! # What may be lost
//!
//! Everything but a record that is written. Requests are repeated until they are answered ([`surely`]),
//! and have no further effect if they had arrived: entries by their id, writes by what they
//! expect. Acknowledgments of entries may get lost: the entry comes back, and the node that gets it
//! finds the record `Ended`.
//!
//! # Time
//!
//! Times that are stored are by the clock of the broker ([`broker_time`]). Silence is measured by each
//! node's own clock, from the moment at which it has begun to listen.

mod broker_time;
mod bytes;
mod control;
mod dead;
mod errors;
mod launcher;
mod link;
mod member;
mod node;
mod overview;
mod pause;
mod payload;
mod pending;
mod record;
pub(crate) mod session;
mod surely;
#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use crate::cluster::error::ClusterError;

pub(crate) use node::Serving;
pub(crate) use pending::Pending;
pub(crate) use session::{Connect, Session};

/// Bounds how long a request is repeated.
async fn within<T>(limit: Duration, request: impl Future<Output = T>) -> Result<T, ClusterError> {
    tokio::time::timeout(limit, request)
        .await
        .map_err(|_| ClusterError::Unreachable { detail: format!("no answer within {limit:?}") })
}

/// Runs all of the futures, at most `window` at a time: each that ends makes room for the next one.
/// Returns their number.
async fn all<F: Future<Output = ()>>(window: usize, futures: impl Iterator<Item = F>) -> u32 {
    let mut futures = futures.fuse();
    let mut pending: Vec<Pin<Box<F>>> = Vec::with_capacity(window);
    let mut count = 0;
    poll_fn(|cx| {
        loop {
            pending.retain_mut(|future| future.as_mut().poll(cx).is_pending());
            let before = pending.len();
            pending.extend(futures.by_ref().take(window - before).map(Box::pin));
            count += (pending.len() - before) as u32;
            match (before, pending.len()) {
                (_, 0) => return Poll::Ready(()),
                (before, now) if before == now => return Poll::Pending,
                // The new ones have to be polled as well.
                _ => {}
            }
        }
    })
    .await;
    count
}

/// Waits for one of two futures.
async fn either(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match (a.as_mut().poll(cx), b.as_mut().poll(cx)) {
        (Poll::Pending, Poll::Pending) => Poll::Pending,
        _ => Poll::Ready(()),
    })
    .await;
}
