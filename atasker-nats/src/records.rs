//! Records: the last message of each subject below `s.` in stream S.

use async_nats::header::{
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE as LAST, NATS_MESSAGE_ID,
};
use async_nats::{HeaderMap, HeaderValue};
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
/// A write that is sent again has the same message id, so the server answers with the number of the
/// first. It remembers ids after a crash as far as the messages are still there; a first write that
/// was followed by another one leads to `Conflict`, as it would if the second had come earlier.
pub(crate) async fn write(
    link: &Link,
    subject: &str,
    expect: Expect,
    token: &str,
    value: Vec<u8>,
) -> Result<u64, BrokerError> {
    let headers = || {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, token);
        match expect {
            Expect::Absent => headers.insert(LAST, "0"),
            Expect::Number(number) => headers.insert(LAST, HeaderValue::from(number)),
            Expect::Anything => {}
        }
        Some(headers)
    };
    Ok(api::store(link, subject, headers, value).await?)
}

pub(crate) async fn remove(link: &Link, layout: &Layout, key: &str) -> Result<(), BrokerError> {
    api::delete(link, layout.stream(Stream::Records), &layout.record(key)).await?;
    Ok(())
}
