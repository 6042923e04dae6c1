//! Requests to JetStream, and the meaning of its errors.
//!
//! Nearly every request here may be sent again: appends have a message id, and others describe a state
//! that is to be. So each is repeated while there is time, with a short limit for each reply. Writes that
//! expect a certain state are the exception: see [`store_once`].

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject};
use atasker_runtime::__broker::BrokerError;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::link::{Failed, Link};

/// How long a request may take in all, and how long one reply may.
pub(crate) const IN_ALL: Duration = Duration::from_secs(5);
const ONE_REPLY: Duration = Duration::from_millis(1500);
/// The pause before a request is sent again for which no one listened.
const PAUSE: Duration = Duration::from_millis(100);

/// What JetStream answers instead of doing it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: u64,
    pub(crate) description: String,
}

pub(crate) const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
pub(crate) const CONSUMER_NOT_FOUND: u64 = 10014;
pub(crate) const CONSUMER_NOT_CREATED: u64 = 10012;
pub(crate) const CONSUMER_NOT_DELETED: u64 = 10051;
pub(crate) const STREAM_NAME_IN_USE: u64 = 10058;
const MESSAGE_NOT_FOUND: u64 = 10037;
const MESSAGE_NOT_DELETED: u64 = 10057;

impl From<ApiError> for BrokerError {
    fn from(error: ApiError) -> BrokerError {
        let ApiError { code, description } = error;
        if WRONG_LAST_SEQUENCE.contains(&code) {
            BrokerError::Conflict
        } else {
            BrokerError::Unavailable(format!("{description} (JetStream error {code})"))
        }
    }
}

/// Why an exchange with JetStream has failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    Link(Failed),
    Api(ApiError),
    /// A reply that can't be read.
    Odd(String),
}

impl Trouble {
    pub(crate) fn is(&self, code: u64) -> bool {
        matches!(self, Trouble::Api(error) if error.code == code)
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Trouble {
        Trouble::Link(failed)
    }
}

impl From<Trouble> for BrokerError {
    fn from(trouble: Trouble) -> BrokerError {
        match trouble {
            Trouble::Link(Failed::NoResponders) => BrokerError::Unavailable(
                "the NATS server does not answer for JetStream: enable it (`nats-server -js`), or \
                 wait until it has started"
                    .to_owned(),
            ),
            Trouble::Link(failed) => failed.into(),
            Trouble::Api(error) => error.into(),
            Trouble::Odd(text) => BrokerError::Unavailable(text),
        }
    }
}

pub(crate) fn no_headers() -> Option<HeaderMap> {
    None
}

/// Sends a request until there is a reply, in at most [`IN_ALL`].
pub(crate) async fn ask(
    link: &Link,
    subject: impl Into<Subject>,
    headers: impl Fn() -> Option<HeaderMap>,
    payload: Bytes,
) -> Result<Message, Failed> {
    ask_until(link, subject, headers, payload, Instant::now() + IN_ALL).await
}

/// Like [`ask`], until `end` at most.
pub(crate) async fn ask_until(
    link: &Link,
    subject: impl Into<Subject>,
    headers: impl Fn() -> Option<HeaderMap>,
    payload: Bytes,
    end: Instant,
) -> Result<Message, Failed> {
    let subject = subject.into();
    let mut error = None;
    loop {
        let until = end.min(Instant::now() + ONE_REPLY);
        match link.ask(subject.clone(), headers(), payload.clone(), until).await {
            // While a server starts it listens before JetStream does.
            Err(Failed::NoResponders) => {
                error = Some(Failed::NoResponders);
                Box::pin(tokio::time::sleep(PAUSE)).await;
            }
            // The last request may have had little time, so it does not hide what was answered before.
            Err(no_answer @ Failed::NoAnswer(_)) => _ = error.get_or_insert(no_answer),
            done => return done,
        }
        if Instant::now() >= end
            && let Some(error) = error
        {
            return Err(error);
        }
    }
}

/// Publishes to a stream and returns the sequence number of the message, which is that of an earlier
/// one with the same message id.
pub(crate) async fn store(
    link: &Link,
    subject: impl Into<Subject>,
    headers: impl Fn() -> Option<HeaderMap>,
    payload: Vec<u8>,
) -> Result<u64, Trouble> {
    stored(&ask(link, subject, headers, payload.into()).await?)
}

/// The same, without sending it again once the server may have it.
pub(crate) async fn store_once(
    link: &Link,
    subject: impl Into<Subject>,
    headers: impl Fn() -> Option<HeaderMap>,
    payload: Vec<u8>,
) -> Result<u64, Trouble> {
    let (subject, payload) = (subject.into(), Bytes::from(payload));
    let end = Instant::now() + IN_ALL;
    loop {
        let until = end.min(Instant::now() + ONE_REPLY);
        match link.ask(subject.clone(), headers(), payload.clone(), until).await {
            // Nothing has received it.
            Err(Failed::NoResponders) if Instant::now() < end => {
                Box::pin(tokio::time::sleep(PAUSE)).await;
            }
            reply => return stored(&reply?),
        }
    }
}

/// Reads the answer to a message that was published to a stream.
fn stored(reply: &Message) -> Result<u64, Trouble> {
    let text = &reply.payload[..];
    // The common reply has no error: `{"stream":"NAME", "seq":12}`.
    if !contains(text, b"\"error\"")
        && let Some(seq) = number_after(text, b"\"seq\":")
    {
        return Ok(seq);
    }
    match parse(&reply.payload)?["seq"].as_u64() {
        Some(seq) => Ok(seq),
        None => Err(Trouble::Odd(String::from_utf8_lossy(text).into_owned())),
    }
}

/// Sends a request to the interface of JetStream and returns its reply.
pub(crate) async fn call(link: &Link, what: &str, body: &Value) -> Result<Value, Trouble> {
    let payload = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let reply = ask(link, format!("$JS.API.{what}"), no_headers, payload).await?;
    parse(&reply.payload)
}

fn parse(payload: &[u8]) -> Result<Value, Trouble> {
    let value: Value =
        serde_json::from_slice(payload).map_err(|error| Trouble::Odd(error.to_string()))?;
    let error = &value["error"];
    if error.is_null() {
        return Ok(value);
    }
    Err(Trouble::Api(ApiError {
        code: error["err_code"].as_u64().or(error["code"].as_u64()).unwrap_or(0),
        description: error["description"].as_str().unwrap_or("unknown error").to_owned(),
    }))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    find(text, what).is_some()
}

fn number_after(text: &[u8], what: &[u8]) -> Option<u64> {
    let rest = &text[find(text, what)? + what.len()..];
    let rest = &rest[rest.iter().position(|b| *b != b' ')?..];
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) seq: u64,
    /// In nanoseconds since the Unix epoch.
    pub(crate) time: u64,
    pub(crate) payload: Bytes,
}

/// Returns the last message of a stream with a subject, which may have wildcards.
pub(crate) async fn last(
    link: &Link,
    stream: &str,
    subject: &str,
) -> Result<Option<Stored>, Trouble> {
    let body = format!("{{\"last_by_subj\":\"{subject}\"}}");
    if link.has_replicas.load(Relaxed) {
        return last_of_leader(link, stream, body.into()).await;
    }
    let reply = ask(link, format!("$JS.API.DIRECT.GET.{stream}"), no_headers, body.into()).await?;
    match reply.status.map(|s| s.as_u16()) {
        Some(404) => return Ok(None),
        Some(code) => {
            let text = reply.description.unwrap_or_default();
            return Err(Trouble::Odd(format!("a stored message can't be read: {code} {text}")));
        }
        None => {}
    }
    let stored = (|| {
        let headers = reply.headers.as_ref()?;
        Some(Stored {
            subject: headers.get("Nats-Subject")?.as_str().to_owned(),
            seq: headers.get("Nats-Sequence")?.as_str().parse().ok()?,
            time: crate::clock::parse_rfc3339(headers.get("Nats-Time-Stamp")?.as_str())?,
            payload: reply.payload.clone(),
        })
    })();
    match stored {
        Some(stored) => Ok(Some(stored)),
        None => Err(Trouble::Odd("a stored message lacks its headers".to_owned())),
    }
}

/// Returns a message as the leader of a stream knows it. Any server may answer a direct request, also
/// one that lacks the latest messages.
async fn last_of_leader(link: &Link, stream: &str, body: Bytes) -> Result<Option<Stored>, Trouble> {
    let reply = ask(link, format!("$JS.API.STREAM.MSG.GET.{stream}"), no_headers, body).await?;
    let reply = match parse(&reply.payload) {
        Err(trouble) if trouble.is(MESSAGE_NOT_FOUND) => return Ok(None),
        other => other?,
    };
    let message = &reply["message"];
    let stored = (|| {
        Some(Stored {
            subject: message["subject"].as_str()?.to_owned(),
            seq: message["seq"].as_u64()?,
            time: crate::clock::parse_rfc3339(message["time"].as_str()?)?,
            payload: decode_base64(message["data"].as_str().unwrap_or_default())?.into(),
        })
    })();
    match stored {
        Some(stored) => Ok(Some(stored)),
        None => Err(Trouble::Odd("a stored message can't be read".to_owned())),
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

/// Removes the last message of a stream with a subject. Returns whether there was one.
///
/// By its number: a purge of the subject would let nats-server 2.9 move all consumers whose filter
/// matches to the end of the stream, so that they never deliver what waits.
pub(crate) async fn delete(link: &Link, stream: &str, subject: &str) -> Result<bool, Trouble> {
    let Some(stored) = last(link, stream, subject).await? else { return Ok(false) };
    let body = serde_json::json!({ "seq": stored.seq, "no_erase": true });
    match call(link, &format!("STREAM.MSG.DELETE.{stream}"), &body).await {
        Ok(_) => Ok(true),
        // It was acknowledged, replaced or removed meanwhile.
        Err(trouble) if trouble.is(MESSAGE_NOT_DELETED) || trouble.is(MESSAGE_NOT_FOUND) => {
            Ok(false)
        }
        Err(trouble) => Err(trouble),
    }
}

/// Removes the messages of a stream without consumers, by a subject that may have wildcards.
pub(crate) async fn purge(link: &Link, stream: &str, subject: &str) -> Result<(), Trouble> {
    let body = serde_json::json!({ "filter": subject });
    call(link, &format!("STREAM.PURGE.{stream}"), &body).await?;
    Ok(())
}

/// What the subject for the acknowledgment of a delivered message says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryInfo {
    pub(crate) delivered: u64,
    pub(crate) stream_seq: u64,
    pub(crate) consumer_seq: u64,
    pub(crate) time: u64,
    pub(crate) pending: u64,
}

/// Parses `$JS.ACK.{stream}.{consumer}.{delivered}.{seq}.{consumer seq}.{time}.{pending}`, or the
/// longer form with a domain and an account after `ACK`.
pub(crate) fn delivery_info(subject: &str) -> Option<DeliveryInfo> {
    let rest = subject.strip_prefix("$JS.ACK.")?;
    let tokens = rest.split('.').count();
    let skip = match tokens {
        7 => 2,
        9.. => 4,
        _ => return None,
    };
    let mut numbers = rest.split('.').skip(skip).map(|t| t.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    Some(DeliveryInfo {
        delivered: next()?,
        stream_seq: next()?,
        consumer_seq: next()?,
        time: next()?,
        pending: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgments_are_parsed() {
        let info = DeliveryInfo {
            delivered: 2,
            stream_seq: 30,
            consumer_seq: 41,
            time: 1_700_000_000_000_000_001,
            pending: 5,
        };
        let short = "$JS.ACK.atasker_x_Q.2_default.2.30.41.1700000000000000001.5";
        assert_eq!(delivery_info(short), Some(info));
        let long = "$JS.ACK._.ACCOUNT.atasker_x_Q.2_default.2.30.41.1700000000000000001.5.random";
        assert_eq!(delivery_info(long), Some(info));
        assert_eq!(delivery_info("$JS.ACK.a.b.1.2"), None);
        assert_eq!(delivery_info("_INBOX.x"), None);
    }

    #[test]
    fn base64_is_decoded() {
        let of = |text| decode_base64(text).map(|bytes| String::from_utf8(bytes).unwrap());
        let texts = ["", "YQ==", "YWI=", "YWJj", "YWJjZA=="].map(of);
        assert_eq!(texts.map(Option::unwrap), ["", "a", "ab", "abc", "abcd"]);
        assert_eq!(decode_base64("+/8A"), Some(vec![0xfb, 0xff, 0x00]));
        assert_eq!(decode_base64("Y Q="), None);
    }

    #[test]
    fn sequence_numbers_are_found() {
        assert_eq!(number_after(b"{\"stream\":\"S\", \"seq\":12}", b"\"seq\":"), Some(12));
        assert_eq!(number_after(b"{\"seq\": 7,\"duplicate\": true}", b"\"seq\":"), Some(7));
        assert_eq!(number_after(b"{}", b"\"seq\":"), None);
    }

    #[test]
    fn errors_have_a_meaning() {
        let of = |code, description: &str| {
            BrokerError::from(ApiError { code, description: description.to_owned() })
        };
        assert_eq!(of(10071, "wrong last sequence: 4"), BrokerError::Conflict);
        assert!(matches!(of(10023, "insufficient resources"), BrokerError::Unavailable(_)));
        assert!(matches!(of(10077, "maximum bytes exceeded"), BrokerError::Unavailable(_)));
    }
}
