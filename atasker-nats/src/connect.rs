//! Connecting: once, with a look at what the server can do and allows.
//!
//! The client is not told to retry its first attempt, because it would then count as connected with
//! a wrong password as well. A right that is missing is otherwise seen only as a request without an
//! answer, so each kind of right is tried here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, HeaderMap};
use atasker_runtime::__broker::{BrokerError, BrokerLimits, Kept};
use atasker_runtime::{ClusterError, Overflow};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::api::{self, Trouble};
use crate::broker::NatsBroker;
use crate::layout::{Layout, Shared, Stream, difference};
use crate::link::{Events, Failed, Link, is_refusal};
use crate::nats::{Auth, Nats};
use crate::url::{self, Credentials};

/// The pause between attempts to connect again. While the server is away, entries that were given
/// out come closer to their time, so this is short.
const RECONNECT: Duration = Duration::from_millis(200);
/// Two unanswered ones mean that the connection is dead.
const PING: Duration = Duration::from_secs(2);
const LARGEST_BLOCK: usize = 512 << 10;
/// Room for headers and for the head of a call.
const HEAD: usize = 64 << 10;
const OLDEST: [u64; 3] = [2, 9, 10];

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no server, or it doesn't answer.
    Unreachable(String),
    /// Credentials, certificates or rights.
    Denied(String),
    /// The server can't do it.
    Unavailable(String),
    /// The namespace has other settings.
    Mismatch {
        /// The setting.
        what: &'static str,
        /// Its value in this program.
        here: String,
        /// Its value at the server.
        there: String,
    },
    /// A setting is not valid.
    Invalid(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(text)
            | Failure::Denied(text)
            | Failure::Unavailable(text)
            | Failure::Invalid(text) => f.write_str(text),
            Failure::Mismatch { what, here, there } => {
                write!(f, "`{what}` is {here} here and {there} at the server")
            }
        }
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Failure {
        match error {
            BrokerError::Denied(text) => Failure::Denied(text),
            BrokerError::Unavailable(text) => Failure::Unavailable(text),
            other => Failure::Unreachable(other.to_string()),
        }
    }
}

impl From<Failure> for ClusterError {
    fn from(failure: Failure) -> ClusterError {
        match failure {
            Failure::Unreachable(detail) => ClusterError::Unreachable { detail },
            Failure::Denied(detail) => ClusterError::Denied { detail },
            Failure::Unavailable(detail) => ClusterError::Unavailable { detail },
            Failure::Mismatch { what, here, there } => ClusterError::Mismatch { what, here, there },
            Failure::Invalid(detail) => ClusterError::Invalid { detail },
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        BrokerError::from(trouble).into()
    }
}

/// Checks the settings, as far as this is possible without a server.
fn validate(nats: &Nats) -> Result<(), Failure> {
    let invalid = |text: &str| Err(Failure::Invalid(text.to_owned()));
    let name = &nats.namespace;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(allowed) {
        return invalid("a namespace has 1 to 32 characters of A-Z, a-z, 0-9, `_` and `-`");
    }
    if nats.lost_after < Duration::from_secs(1) {
        return invalid("`lost_after` is at least 1 second");
    }
    if nats.keep < Duration::from_secs(1) {
        return invalid("`keep` is at least 1 second");
    }
    if nats.queue_limit == 0 {
        return invalid("`queue_limit` is at least 1");
    }
    if ![1, 3, 5].contains(&nats.replicas) {
        return invalid("`replicas` is 1, 3 or 5");
    }
    if nats.large_after == 0 || nats.large_after > LARGEST_BLOCK {
        return invalid("`large_after` is at least 1 byte and at most 512 KiB");
    }
    if nats.connect_timeout.is_zero() {
        return invalid("`connect_timeout` is longer than nothing");
    }
    Ok(())
}

/// Connects, and brings the namespace into being.
pub(crate) async fn connect(nats: Nats) -> Result<NatsBroker, Failure> {
    validate(&nats)?;
    let urls = url::parse(&nats.urls).map_err(Failure::Invalid)?;
    let events = Events::new(nats.pending_bytes);
    let handler = events.clone();
    let count = urls.addresses.len() as u32;
    let mut options = ConnectOptions::new()
        .name(format!("atasker {}", nats.namespace))
        .connection_timeout((nats.connect_timeout / count).max(Duration::from_millis(100)))
        .ping_interval(PING)
        .retain_servers_order()
        .require_tls(nats.require_tls)
        .reconnect_delay_callback(|attempts| if attempts <= 1 { Duration::ZERO } else { RECONNECT })
        .event_callback(move |event| {
            handler.on(event);
            async {}
        });
    let from_url = urls.credentials.map(|credentials| match credentials {
        Credentials::User { name, password } => Auth::User { name, password },
        Credentials::Token(token) => Auth::Token(token),
    });
    options = match nats.auth.clone().or(from_url) {
        None => options,
        Some(Auth::User { name, password }) => options.user_and_password(name, password),
        Some(Auth::Token(token)) => options.token(token),
        #[cfg(feature = "nkeys")]
        Some(Auth::Nkey(seed)) => options.nkey(seed),
        #[cfg(feature = "nkeys")]
        Some(Auth::CredentialsFile(path)) => {
            let read = options.credentials_file(&path).await;
            read.map_err(|error| {
                Failure::Invalid(format!("credentials file {}: {error}", path.display()))
            })?
        }
    };
    if let Some(path) = &nats.root_certificate {
        options = options.add_root_certificates(readable(path)?.to_owned());
    }
    if let Some((certificate, key)) = &nats.client_certificate {
        options = options
            .add_client_certificate(readable(certificate)?.to_owned(), readable(key)?.to_owned());
    }
    use_ring();
    let addresses = urls.addresses.join(", ");
    let late = |what: &str| {
        let within = nats.connect_timeout;
        Failure::Unreachable(format!("{addresses}: {what} within {within:?}"))
    };
    let end = Instant::now() + nats.connect_timeout;
    // The client tries each address once, and the pause before each but the first counts as well.
    let client = match timeout_at(end, options.connect(urls.addresses)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(refused(&error, &addresses)),
        Err(_) => return Err(late("no answer")),
    };
    let link = match timeout_at(end, Link::new(client, events, nats.pending_bytes)).await {
        Ok(link) => link?,
        Err(_) => return Err(late("connected, but no answer to a message")),
    };
    let failure = match timeout_at(end, set_up(&link, &nats, end)).await {
        Ok(Ok(broker)) => return Ok(broker),
        Ok(Err(failure)) => failure,
        Err(_) => late("connected, but the namespace was not set up"),
    };
    let _ = timeout_at(end, link.close()).await;
    link.end();
    Err(failure)
}

async fn set_up(link: &Arc<Link>, nats: &Nats, end: Instant) -> Result<NatsBroker, Failure> {
    // A server without JetStream is told from one that is slow.
    let asked = Instant::now() + (end - Instant::now()).mul_f64(0.8).min(api::IN_ALL);
    let info = link.client.server_info();
    if !recent(&info.version) {
        return Err(Failure::Unavailable(format!(
            "nats-server {} is too old: update it to 2.9.10 or later",
            info.version
        )));
    }
    let needed = nats.large_after.max(LARGEST_BLOCK) + HEAD;
    if info.max_payload < needed {
        return Err(Failure::Unavailable(format!(
            "the server takes messages of at most {} bytes: set its `max_payload` to {needed} or more",
            info.max_payload
        )));
    }
    let shared = Shared {
        lost_after: nats.lost_after,
        keep: nats.keep,
        queue_limit: nats.queue_limit,
        storage: nats.storage,
        replicas: nats.replicas,
    };
    link.has_replicas.store(nats.replicas > 1, Relaxed);
    let layout = Arc::new(Layout::new(&nats.namespace));
    prepare(link, &layout, &shared, asked).await?;
    try_rights(link, &layout).await?;
    let limits = BrokerLimits {
        redeliver_after: shared.redeliver_after(),
        lost_after: nats.lost_after,
        keep: nats.keep,
        large_after: nats.large_after,
        pending_bytes: nats.pending_bytes,
        blocks_when_full: nats.overflow == Overflow::Block,
    };
    Ok(NatsBroker::new(link.clone(), layout, shared, limits).await?)
}

/// Compares the streams that are there, and creates those that are missing.
/// `end` is for the first answer of JetStream.
pub(crate) async fn prepare(
    link: &Link,
    layout: &Layout,
    shared: &Shared,
    end: Instant,
) -> Result<(), Failure> {
    let (subject, headers) = ("$JS.API.INFO", api::no_headers);
    let account = api::ask_until(link, subject, headers, Bytes::new(), end).await;
    account.map_err(Trouble::from)?;
    for stream in Stream::ALL {
        let name = layout.stream(stream);
        let here = layout.stream_config(stream, shared);
        let info = format!("STREAM.INFO.{name}");
        let there = match api::call(link, &info, &Value::Null).await {
            Err(trouble) if trouble.is(api::STREAM_NOT_FOUND) => {
                match api::call(link, &format!("STREAM.CREATE.{name}"), &here).await {
                    // Another member was faster.
                    Err(trouble) if trouble.is(api::STREAM_NAME_IN_USE) => {
                        api::call(link, &info, &Value::Null).await?
                    }
                    other => other?,
                }
            }
            other => other?,
        };
        if let Some((what, here, there)) = difference(&here, &there["config"]) {
            return Err(Failure::Mismatch { what, here, there });
        }
    }
    Ok(())
}

/// Tries what the members do later, without an effect.
async fn try_rights(link: &Arc<Link>, layout: &Layout) -> Result<(), Failure> {
    // Refused by the stream, after the right was looked at.
    let headers = || {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", "none");
        Some(headers)
    };
    let subjects = [
        layout.record("right"),
        layout.agreed("right"),
        format!("{}right", layout.entry("right", atasker_runtime::Priority::Low, "")),
        layout.block(Kept::AsRecords, "right", 0),
        layout.block(Kept::AsLogs, "right", 0),
        layout.logged("right", "right"),
    ];
    for subject in &subjects {
        match api::store(link, subject.as_str(), headers, Vec::new()).await {
            Ok(_) | Err(Trouble::Api(_)) => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
    // No one answers to these.
    let queues = layout.stream(Stream::Queues);
    let silent = [
        layout.message("right"),
        format!("$JS.ACK.{queues}.right.1.1.1.1.1"),
        format!("$JS.FC.{queues}.right.right"),
    ];
    for subject in &silent {
        link.send(subject.clone(), Bytes::new());
    }
    let listened = layout.message("right.*");
    let _messages = link.client.subscribe(listened.clone()).await.map_err(|_| Failed::Closed)?;
    // The messages go through a queue of their own.
    let end = Instant::now() + api::IN_ALL;
    while !link.has_sent() && Instant::now() < end {
        tokio::task::yield_now().await;
    }
    link.echo(api::IN_ALL).await?;
    for subject in silent.iter().chain([&listened]) {
        link.check(subject).await?;
    }
    Ok(())
}

fn recent(version: &str) -> bool {
    let numbers = version.split(['.', '-']).map_while(|n| n.parse::<u64>().ok());
    numbers.take(3).ge(OLDEST)
}

fn readable(path: &Path) -> Result<&Path, Failure> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(path),
        Err(error) => Err(Failure::Invalid(format!("{}: {error}", path.display()))),
    }
}

/// The client builds its TLS configuration with the default provider of the process, and panics if
/// the program has enabled several without choosing one.
fn use_ring() {
    use async_nats::rustls::crypto::{CryptoProvider, ring};
    if CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster.
        let _ = ring::default_provider().install_default();
    }
}

fn refused(error: &async_nats::ConnectError, addresses: &str) -> Failure {
    let mut text = format!("{addresses}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Failure::Denied(text)
        }
        ConnectErrorKind::ServerParse => Failure::Invalid(text),
        _ if is_refusal(&text) => Failure::Denied(text),
        _ => Failure::Unreachable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared() {
        for version in ["2.9.10", "2.9.11", "2.10.0", "2.15.0-dev", "3.0.0", "2.10.3-RC.1"] {
            assert!(recent(version), "{version}");
        }
        for version in ["2.9.9", "2.8.4", "1.4.1", "", "2.9"] {
            assert!(!recent(version), "{version}");
        }
    }

    #[test]
    fn settings_are_validated() {
        let nats = || Nats::new("nats://localhost");
        assert_eq!(validate(&nats()), Ok(()));
        let wrong = [
            nats().namespace(""),
            nats().namespace("a.b"),
            nats().namespace(&"x".repeat(33)),
            nats().lost_after(Duration::from_millis(999)),
            nats().keep(Duration::from_millis(999)),
            nats().queue_limit(0, Overflow::Reject),
            nats().replicas(2),
            nats().large_after((512 << 10) + 1),
            nats().large_after(0),
            nats().connect_timeout(Duration::ZERO),
        ];
        for nats in wrong {
            assert!(matches!(validate(&nats), Err(Failure::Invalid(_))), "{nats:?}");
        }
    }
}
