//! Records: the last message of each subject below `s.` in stream S.

use std::sync::atomic::Ordering::Relaxed;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE as LAST, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderValue, Subject};
use atasker_runtime::__broker::{BrokerError, Expect, Record};

use crate::api;
use crate::layout::{Layout, Stream};
use crate::link::Link;

pub(crate) async fn read(
    link: &Link,
    layout: &Layout,
    key: &str,
) -> Result<Option<Record>, BrokerError> {
    let found = api::last(link, layout.stream(Stream::Records), &layout.record(key)).await?;
    Ok(found.map(|stored| Record {
        key: key.to_owned(),
        number: stored.seq,
        time: stored.time,
        value: stored.payload.into(),
    }))
}

/// Writes to a subject of stream S.
///
/// What a write expects makes it exactly one: sent again, it is refused. So it needs no message id,
/// which the server would keep for two minutes, and which would come along with each report of the
/// record. But it is sent once only, because a refusal would not say which of several requests was
/// carried out.
///
/// A write that expects nothing has an id, so that one that comes once more, late, is dropped.
///
/// Servers that replicate a stream have requests under way that they compare with one another only by
/// their message ids. So there a write has one, and is sent again with the same id.
pub(crate) async fn write(
    link: &Link,
    subject: impl Into<Subject>,
    expect: Expect,
    token: &str,
    value: Vec<u8>,
) -> Result<u64, BrokerError> {
    let has_id = expect == Expect::Anything || link.has_replicas.load(Relaxed);
    let headers = || {
        let mut headers = HeaderMap::new();
        if has_id {
            headers.insert(NATS_MESSAGE_ID, token);
        }
        match expect {
            Expect::Absent => headers.insert(LAST, "0"),
            Expect::Number(number) => headers.insert(LAST, HeaderValue::from(number)),
            Expect::Anything => {}
        }
        Some(headers)
    };
    let written = match has_id {
        true => api::store(link, subject, headers, value).await,
        false => api::store_once(link, subject, headers, value).await,
    };
    Ok(written?)
}

pub(crate) async fn remove(link: &Link, layout: &Layout, key: &str) -> Result<(), BrokerError> {
    api::delete(link, layout.stream(Stream::Records), &layout.record(key)).await?;
    Ok(())
}
