//! The builder.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atasker_runtime::__broker::Broker;
use atasker_runtime::{Cluster, ClusterError, Overflow};

use crate::connect::{self, Failure};
use crate::url;

/// Where the server keeps what it stores.
///
/// ```
/// # use atasker_nats as atasker;
/// use atasker::{Nats, Storage};
/// let nats = Nats::new("nats://127.0.0.1:4222").storage(Storage::Memory);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Storage {
    /// In files. What the server has acknowledged outlives its crash.
    #[default]
    File,
    /// In memory. A restart of the server loses all calls and outcomes.
    Memory,
}

impl Storage {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Storage::File => "file",
            Storage::Memory => "memory",
        }
    }
}

/// How this program proves who it is.
#[derive(Clone)]
pub(crate) enum Auth {
    User {
        name: String,
        password: String,
    },
    Token(String),
    #[cfg(feature = "nkeys")]
    Nkey(String),
    #[cfg(feature = "nkeys")]
    CredentialsFile(PathBuf),
}

/// A connection to a cluster through a [NATS](https://nats.io) server with JetStream, version 2.9.10
/// or later.
///
/// All programs that connect to the same server with the same [namespace](Self::namespace) form one
/// cluster. What is missing at the server is created by the first of them.
///
/// ```no_run
/// # use atasker_nats as atasker;
/// # use std::time::Duration;
/// use atasker::{Nats, Storage};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Nats::new("nats://10.0.0.5:4222")
///     .namespace("video")
///     .lost_after(Duration::from_secs(5))
///     .storage(Storage::File)
///     .connect()?;
/// # Ok(())
/// # }
/// ```
///
/// # Rights
///
/// A user with restricted rights needs those to publish to `atasker.{namespace}.>`, `$JS.API.>`,
/// `$JS.ACK.>`, `$JS.FC.>` and `_INBOX.>`, and to subscribe to `atasker.{namespace}.m.>` and
/// `_INBOX.>`.
#[derive(Clone)]
pub struct Nats {
    pub(crate) urls: String,
    pub(crate) namespace: String,
    pub(crate) auth: Option<Auth>,
    pub(crate) root_certificate: Option<PathBuf>,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) require_tls: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) lost_after: Duration,
    pub(crate) keep: Duration,
    pub(crate) queue_limit: u64,
    pub(crate) overflow: Overflow,
    pub(crate) pending_bytes: usize,
    pub(crate) storage: Storage,
    pub(crate) replicas: usize,
    pub(crate) large_after: usize,
}

/// Passwords and keys are left out.
impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = url::parse(&self.urls).map(|urls| urls.addresses);
        f.debug_struct("Nats")
            .field("urls", &addresses)
            .field("namespace", &self.namespace)
            .field("connect_timeout", &self.connect_timeout)
            .field("lost_after", &self.lost_after)
            .field("keep", &self.keep)
            .field("queue_limit", &self.queue_limit)
            .field("overflow", &self.overflow)
            .field("pending_bytes", &self.pending_bytes)
            .field("storage", &self.storage)
            .field("replicas", &self.replicas)
            .field("large_after", &self.large_after)
            .finish_non_exhaustive()
    }
}

impl Nats {
    /// Names the server, or several servers of one NATS cluster, separated by commas.
    ///
    /// A url is `nats://HOST:PORT` or `tls://HOST:PORT`; the latter asks for TLS. The port is 4222
    /// if it is left out. A user and a password may be part of it: `nats://USER:PASSWORD@HOST`, with
    /// special characters written as `%` and two hexadecimal digits. A user without a password is a
    /// token. The credentials of the first url that has some are used for all.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://10.0.0.5:4222,nats://10.0.0.6:4222").namespace("video");
    /// ```
    pub fn new(urls: impl Into<String>) -> Nats {
        Nats {
            urls: urls.into(),
            namespace: "default".to_owned(),
            auth: None,
            root_certificate: None,
            client_certificate: None,
            require_tls: false,
            connect_timeout: Duration::from_secs(5),
            lost_after: Duration::from_secs(10),
            keep: Duration::from_secs(24 * 3600),
            queue_limit: 1_000_000,
            overflow: Overflow::Reject,
            pending_bytes: 64 << 20,
            storage: Storage::File,
            replicas: 1,
            large_after: 256 << 10,
        }
    }

    /// Sets the namespace: 1 to 32 characters of `A-Za-z0-9_-`. Namespaces share nothing.
    ///
    /// Default: `"default"`.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").namespace("video");
    /// ```
    pub fn namespace(mut self, namespace: &str) -> Nats {
        self.namespace = namespace.to_owned();
        self
    }

    /// Authenticates with a user and a password, instead of those in the url.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").user_and_password("me", "p@ss");
    /// ```
    pub fn user_and_password(mut self, user: &str, password: &str) -> Nats {
        self.auth = Some(Auth::User { name: user.to_owned(), password: password.to_owned() });
        self
    }

    /// Authenticates with a token.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").token("s3cret");
    /// ```
    pub fn token(mut self, token: &str) -> Nats {
        self.auth = Some(Auth::Token(token.to_owned()));
        self
    }

    /// Authenticates with an nkey, given by its seed, which begins with `SU`.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let seed = std::env::var("NKEY_SEED").unwrap_or_default();
    /// let nats = Nats::new("nats://127.0.0.1").nkey(&seed);
    /// ```
    #[cfg(feature = "nkeys")]
    #[cfg_attr(docsrs, doc(cfg(feature = "nkeys")))]
    pub fn nkey(mut self, seed: &str) -> Nats {
        self.auth = Some(Auth::Nkey(seed.to_owned()));
        self
    }

    /// Authenticates with a credentials file, which contains a JWT and the seed of its nkey.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").credentials_file("/etc/video/nats.creds");
    /// ```
    #[cfg(feature = "nkeys")]
    #[cfg_attr(docsrs, doc(cfg(feature = "nkeys")))]
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Nats {
        self.auth = Some(Auth::CredentialsFile(path.into()));
        self
    }

    /// Trusts the certificates in a PEM file to have signed that of the server, instead of the
    /// system's root certificates.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("tls://10.0.0.5").root_certificate("/etc/video/ca.pem");
    /// ```
    pub fn root_certificate(mut self, path: impl Into<PathBuf>) -> Nats {
        self.root_certificate = Some(path.into());
        self
    }

    /// Presents a certificate to the server. Both paths are those of PEM files.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("tls://10.0.0.5").client_certificate("/etc/video/me.pem", "/etc/video/me.key");
    /// ```
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Nats {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Sets whether connections without TLS are refused, whatever the url and the server say.
    ///
    /// Default: `false`. Without it, TLS is used if the url begins with `tls://` or the server
    /// requires it.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://10.0.0.5").require_tls(true);
    /// ```
    pub fn require_tls(mut self, require: bool) -> Nats {
        self.require_tls = require;
        self
    }

    /// Sets the time within which [`connect`](Self::connect) has set everything up or fails, for all urls
    /// together.
    ///
    /// Default: 5 seconds.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use std::time::Duration;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").connect_timeout(Duration::from_secs(1));
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Nats {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time after which a node that was not heard of is lost. At least 1 second; the same
    /// in all programs of the namespace.
    ///
    /// Default: 10 seconds.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use std::time::Duration;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").lost_after(Duration::from_secs(3));
    /// ```
    pub fn lost_after(mut self, after: Duration) -> Nats {
        self.lost_after = after;
        self
    }

    /// Sets how long calls and their outcomes are kept. At least 1 second; the same in all programs
    /// of the namespace.
    ///
    /// A run may last for longer, and goes on while the server is away for longer. A call that waits for
    /// longer than this, for its first run or between two attempts, is forgotten.
    ///
    /// Default: 1 day.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use std::time::Duration;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").keep(Duration::from_secs(3600));
    /// ```
    pub fn keep(mut self, keep: Duration) -> Nats {
        self.keep = keep;
        self
    }

    /// Sets how many calls of the namespace may wait at a time, and what happens to further ones. Calls
    /// that are given out to nodes don't count. The limit is the same in all programs of the namespace.
    ///
    /// Each program asks the server how many calls wait, and launches some before it asks again: an
    /// eighth of the room that is left, and at most 16,384. Programs that launch at the same moment may
    /// exceed the limit by as many.
    ///
    /// Default: 1,000,000, [`Overflow::Reject`].
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// use atasker_runtime::Overflow;
    /// let nats = Nats::new("nats://127.0.0.1").queue_limit(10_000, Overflow::Block);
    /// ```
    pub fn queue_limit(mut self, limit: u64, overflow: Overflow) -> Nats {
        self.queue_limit = limit;
        self.overflow = overflow;
        self
    }

    /// Sets how many bytes of launches this program holds while the server doesn't take them.
    ///
    /// Default: 64 MiB.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").pending_bytes(8 << 20);
    /// ```
    pub fn pending_bytes(mut self, bytes: usize) -> Nats {
        self.pending_bytes = bytes;
        self
    }

    /// Sets where the server keeps calls and outcomes. The same in all programs of the namespace.
    ///
    /// Default: [`Storage::File`].
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::{Nats, Storage};
    /// let nats = Nats::new("nats://127.0.0.1").storage(Storage::Memory);
    /// ```
    pub fn storage(mut self, storage: Storage) -> Nats {
        self.storage = storage;
        self
    }

    /// Sets on how many servers of a NATS cluster each call is kept: 1, 3 or 5. The same in all
    /// programs of the namespace.
    ///
    /// Default: 1.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://a,nats://b,nats://c").replicas(3);
    /// ```
    pub fn replicas(mut self, replicas: usize) -> Nats {
        self.replicas = replicas;
        self
    }

    /// Sets the length in bytes from which on arguments and results are sent in pieces. At most
    /// 512 KiB.
    ///
    /// Default: 256 KiB.
    ///
    /// ```
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// let nats = Nats::new("nats://127.0.0.1").large_after(64 << 10);
    /// ```
    pub fn large_after(mut self, bytes: usize) -> Nats {
        self.large_after = bytes;
        self
    }

    /// Connects, and returns once the cluster can be used.
    ///
    /// Tries each url once, creates what is missing at the server, and compares the settings of the
    /// namespace with those that are there. A connection that is lost later comes back by itself.
    ///
    /// Blocks the thread. In async code, use [`connect_async`](Self::connect_async).
    ///
    /// # Errors
    ///
    /// * [`Unreachable`](ClusterError::Unreachable): no server answers, or has set everything up, within
    ///   [`connect_timeout`](Self::connect_timeout).
    /// * [`Denied`](ClusterError::Denied): the server refuses the password, the token, the key or the
    ///   certificate, or a right is missing.
    /// * [`Unavailable`](ClusterError::Unavailable): the server is too old, has no JetStream, or has
    ///   no space.
    /// * [`Mismatch`](ClusterError::Mismatch): the namespace has other settings. Nothing is changed.
    /// * [`Invalid`](ClusterError::Invalid): a setting is not valid.
    pub fn connect(self) -> Result<Cluster, ClusterError> {
        let namespace = self.namespace.clone();
        Cluster::connect_with(&namespace, move || Box::pin(self.open()))
    }

    /// Connects as [`connect`](Self::connect) does, without blocking the thread.
    ///
    /// The connection does not use the tokio runtime of the caller.
    ///
    /// ```no_run
    /// # use atasker_nats as atasker;
    /// use atasker::Nats;
    /// # async fn run() -> Result<(), atasker_runtime::ClusterError> {
    /// let cluster = Nats::new("tls://broker.example.com").connect_async().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    pub async fn connect_async(self) -> Result<Cluster, ClusterError> {
        let namespace = self.namespace.clone();
        Cluster::connect_with_async(&namespace, move || Box::pin(self.open())).await
    }

    async fn open(self) -> Result<Arc<dyn Broker>, ClusterError> {
        Ok(self.__broker().await?)
    }

    /// Connects, and returns the door to the server alone.
    #[doc(hidden)]
    pub async fn __broker(self) -> Result<Arc<dyn Broker>, Failure> {
        let broker: Arc<dyn Broker> = Arc::new(connect::connect(self).await?);
        Ok(broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secrets() {
        let nats =
            Nats::new("nats://me:secret@host").token("secret").user_and_password("a", "secret");
        let text = format!("{nats:?}");
        assert!(text.contains("nats://host") && !text.contains("secret"), "{text}");
    }
}
