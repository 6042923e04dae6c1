//! What one member does when the server has started anew.
//!
//! A server that was killed can leave consumers in a state in which they deliver nothing, although
//! entries wait, and bring back entries that were acknowledged without delivering them ever again.
//! Both end when the consumers are deleted and created anew: those deliver every entry that the
//! stream has. Entries whose calls have ended are then acknowledged once more by the nodes that
//! take them.
//!
//! The members agree by a message in stream S on which server the consumers belong to: `done ID` or
//! `doing ID MEMBER`, where a server has another id each time it starts. The one that replaces the
//! message does the work. Others take over if it isn't done after [`PATIENCE`].

use std::time::Duration;

use atasker_runtime::__broker::{BrokerError, Expect};
use tokio::time::{Instant, sleep};

use crate::api::{self, Stored};
use crate::inner::Inner;
use crate::layout::Stream;
use crate::{queue, records};

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// Brings the consumers into order if the server is another one than when that was last done.
pub(crate) async fn check(inner: &Inner) -> Result<(), BrokerError> {
    let info = inner.link.client.server_info();
    // In a cluster of servers, to be connected to another one does not mean that one has started.
    let server = match info.cluster {
        Some(cluster) => format!("cluster-{cluster}"),
        None => info.server_id,
    };
    let (link, layout) = (&inner.link, &inner.layout);
    let subject = layout.agreed("server");
    let stream = layout.stream(Stream::Records);
    let done = format!("done {server}");
    let doing = format!("doing {server} {}", inner.member);
    let end = Instant::now() + api::IN_ALL;
    loop {
        let found = api::last(link, stream, &subject).await?;
        let text = found.as_ref().map(|f| String::from_utf8_lossy(&f.payload).into_owned());
        match (&found, text.as_deref()) {
            (Some(stored), Some(text)) if text == done => {
                return refresh(inner, &subject, stored, &done).await;
            }
            (Some(stored), Some(text))
                if text.starts_with("doing ") && text.contains(&server) && text != doing =>
            {
                let now = inner.clock.now(link, layout).await?;
                if now < stored.time + PATIENCE.as_nanos() as u64 {
                    sleep(PAUSE).await;
                    continue;
                }
            }
            _ => {}
        }
        let expect = found.map_or(Expect::Absent, |f| Expect::Number(f.seq));
        match records::write(link, &*subject, expect, &inner.token(), doing.clone().into()).await {
            Ok(number) => {
                let count = queue::recreate(link, layout, &inner.shared).await?;
                tracing::info!(
                    "created {count} consumers anew, because the NATS server has started"
                );
                let (expect, token) = (Expect::Number(number), inner.token());
                let value = done.clone().into();
                match records::write(link, &*subject, expect, &token, value).await {
                    // Another member has taken over.
                    Err(BrokerError::Conflict) => continue,
                    Err(BrokerError::NoAnswer(_)) if Instant::now() < end => continue,
                    other => return other.map(drop),
                }
            }
            Err(BrokerError::Conflict) => continue,
            // It may be written or not.
            Err(BrokerError::NoAnswer(_)) if Instant::now() < end => continue,
            Err(error) => return Err(error),
        }
    }
}

/// Writes the message again long before the server drops it for its age.
async fn refresh(
    inner: &Inner,
    subject: &str,
    stored: &Stored,
    done: &str,
) -> Result<(), BrokerError> {
    let now = inner.clock.now(&inner.link, &inner.layout).await?;
    if now < stored.time + inner.shared.keep.as_nanos() as u64 / 4 {
        return Ok(());
    }
    let expect = Expect::Number(stored.seq);
    match records::write(&inner.link, subject, expect, &inner.token(), done.into()).await {
        Ok(_) | Err(BrokerError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}
