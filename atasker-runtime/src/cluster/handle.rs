//! The public handle of a cluster.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::broker::{Broker, BrokerFuture};
use super::error::ClusterError;
use super::events::Events;
use super::info::{ClusterInfo, DeadLetter};
use super::latest::Latest;
use super::memory::Hub;
use super::protocol::Pending;
use super::protocol::{Connect, Session};
use crate::fork;
use crate::id::TaskId;
use crate::sync::lock::Mutex;
use crate::task::park;
use crate::time::clock;

/// A connection to a cluster: the broker that passes calls to nodes on other machines, and one
/// namespace there.
///
/// Created by the crate of a broker (`atasker::Nats`), or by [`in_memory`](Self::in_memory) for
/// tests. Handles are cheap to clone. The connection stays open while a handle exists, a supervisor
/// has [joined](crate::Supervisor::join_cluster), or a call of this process has not ended; a lost
/// connection comes back without further calls.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Cluster, Supervisor};
/// let cluster = Cluster::in_memory();
/// let sup = Supervisor::builder().build();
/// sup.join_cluster(&cluster);
/// assert!(cluster.is_connected());
/// assert_eq!(sup.info().cluster.as_deref(), Some(cluster.namespace()));
/// ```
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
}

/// What the handles of a cluster share.
pub(crate) struct Shared {
    pub(super) namespace: String,
    pub(super) session: Arc<Session>,
    pub(super) events: Events,
    /// The supervisors that have joined, for handles of calls that are found again.
    joined_by: Mutex<Vec<Weak<dyn Any + Send + Sync>>>,
    /// What was last heard of the cluster, for what shows it.
    pub(super) latest: Latest,
    /// The broker, if it is in memory.
    pub(super) memory: Option<Arc<Hub>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("namespace", &self.shared.namespace)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

/// Checks that a namespace is one token of a subject.
pub(super) fn check_namespace(namespace: &str) -> Result<(), ClusterError> {
    let is_valid = (1..=32).contains(&namespace.len()) && super::is_token(namespace);
    match is_valid {
        true => Ok(()),
        false => Err(ClusterError::invalid(format!(
            "the namespace `{namespace}` is not 1 to 32 characters of `A-Z a-z 0-9 _ -`"
        ))),
    }
}

impl Cluster {
    /// Connects through a broker that `connect` returns. For the crates of brokers.
    ///
    /// # Errors
    ///
    /// Returns the error of `connect`, or `Unavailable` if a thread can't be started.
    #[doc(hidden)]
    pub fn connect_with(
        namespace: &str,
        connect: impl FnOnce() -> BrokerFuture<'static, Result<Arc<dyn Broker>, ClusterError>>
        + Send
        + 'static,
    ) -> Result<Cluster, ClusterError> {
        check_namespace(namespace)?;
        fork::watch();
        let session = Session::start(namespace, Box::new(connect) as Connect)?;
        Cluster::over(namespace, session, None)
    }

    /// Connects as [`connect_with`](Self::connect_with) does, without blocking.
    #[doc(hidden)]
    pub async fn connect_with_async(
        namespace: &str,
        connect: impl FnOnce() -> BrokerFuture<'static, Result<Arc<dyn Broker>, ClusterError>>
        + Send
        + 'static,
    ) -> Result<Cluster, ClusterError> {
        check_namespace(namespace)?;
        fork::watch();
        let session = Session::start_async(namespace, Box::new(connect) as Connect).await?;
        Cluster::over(namespace, session, None)
    }

    pub(super) fn over(
        namespace: &str,
        session: Arc<Session>,
        memory: Option<Arc<Hub>>,
    ) -> Result<Cluster, ClusterError> {
        let events = Events::start(namespace).map_err(|error| ClusterError::Unavailable {
            detail: format!("a thread could not be started: {error}"),
        })?;
        let namespace = namespace.to_owned();
        let (joined_by, latest) = (Mutex::default(), Latest::new());
        let shared = Shared { namespace, session, events, joined_by, latest, memory };
        Ok(Cluster { shared: Arc::new(shared) })
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.shared.session
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    /// Returns whether there is a connection to the broker now. A lost connection comes back without
    /// further calls, unless the cluster was [closed](Self::close).
    pub fn is_connected(&self) -> bool {
        !fork::is_copy() && self.session().is_connected()
    }

    /// Closes the connection for all handles, after what was launched is sent, as far as that takes
    /// no longer than a second.
    ///
    /// Handles of calls that have not ended resolve to [`ClusterError::Closed`]; the calls go on, as
    /// far as the broker has stored them. Nodes of this process are stopped, and what they hold runs
    /// elsewhere.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let cluster = atasker::Cluster::in_memory();
    /// cluster.close();
    /// assert!(!cluster.is_connected());
    /// ```
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn close(&self) {
        if !fork::is_copy() {
            self.session().close().wait();
        }
    }

    /// Blocks until the broker has stored all calls that this process has launched so far, or they
    /// have ended.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// let cluster = atasker::Cluster::in_memory();
    /// cluster.flush(Duration::from_secs(5)).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Unreachable`](ClusterError::Unreachable) if that takes longer than `limit`.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop. Use [`flush_async`](Self::flush_async) there.
    #[track_caller]
    pub fn flush(&self, limit: Duration) -> Result<(), ClusterError> {
        not_in_a_fork()?;
        self.session().flush(limit).wait()
    }

    /// Waits as [`flush`](Self::flush) does.
    ///
    /// # Errors
    ///
    /// Returns [`Unreachable`](ClusterError::Unreachable) if that takes longer than `limit`.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe.
    pub async fn flush_async(&self, limit: Duration) -> Result<(), ClusterError> {
        not_in_a_fork()?;
        self.session().flush(limit).await
    }

    /// Returns the nodes and the queues of the cluster, as the broker knows them.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let cluster = atasker::Cluster::in_memory();
    /// assert!(cluster.info().unwrap().nodes.is_empty());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the broker does not answer.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop. Use [`info_async`](Self::info_async) there.
    #[track_caller]
    pub fn info(&self) -> Result<ClusterInfo, ClusterError> {
        not_in_a_fork()?;
        Ok(ClusterInfo::new(self.namespace(), self.session().info().wait()?))
    }

    /// Returns the same as [`info`](Self::info), without blocking.
    ///
    /// # Errors
    ///
    /// Returns an error if the broker does not answer.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe.
    pub async fn info_async(&self) -> Result<ClusterInfo, ClusterError> {
        not_in_a_fork()?;
        Ok(ClusterInfo::new(self.namespace(), self.session().info().await?))
    }

    /// Returns the dead letters, the oldest first: calls that ended with an error, or returned an
    /// `Err` and had no attempts left. The broker keeps the latest 10,000 for 7 days.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let cluster = atasker::Cluster::in_memory();
    /// for letter in cluster.dead_letters().unwrap() {
    ///     println!("{}: {}", letter.name, letter.error);
    ///     cluster.retry_dead(letter.id).unwrap();
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the broker does not answer.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, ClusterError> {
        not_in_a_fork()?;
        let calls = self.session().dead_letters().wait()?;
        Ok(calls.into_iter().map(DeadLetter::from).collect())
    }

    /// Launches the call of a dead letter again, with the same arguments, and removes the letter.
    /// Returns the id of the new call, of which [`task`](Self::task) returns a handle.
    ///
    /// # Errors
    ///
    /// Returns [`NotFound`](ClusterError::NotFound) if there is no such letter, and
    /// [`Duplicate`](ClusterError::Duplicate) if the call is unique and another one holds its key; the
    /// letter stays then. Returns another error if the broker does not answer, or has no room.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn retry_dead(&self, id: TaskId) -> Result<TaskId, ClusterError> {
        not_in_a_fork()?;
        self.session().retry_dead(id).wait()
    }

    /// Removes a dead letter. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Returns an error if the broker does not answer.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn drop_dead(&self, id: TaskId) -> Result<bool, ClusterError> {
        not_in_a_fork()?;
        self.session().drop_dead(id).wait()
    }
}

/// The answer to whether this program is the first one.
pub(crate) struct First(Result<Pending<Result<bool, ClusterError>>, ClusterError>);

impl First {
    /// Blocks for the answer, for at most five seconds.
    pub(crate) fn wait(self) -> Result<bool, ClusterError> {
        let mut answer = self.0?;
        let deadline = clock::after(super::ANSWER_LIMIT);
        let answer = park::block_on(Some(deadline), |context| Pin::new(&mut answer).poll(context));
        answer.unwrap_or_else(|| Err(ClusterError::unreachable("it has not answered in time")))
    }
}

impl Cluster {
    /// Asks whether this program is the first one in the namespace that asks with this name.
    pub(crate) fn first(&self, name: String) -> First {
        First(not_in_a_fork().map(|()| self.session().first(name)))
    }

    /// Records that a supervisor has joined.
    pub(crate) fn joined_by(&self, supervisor: Weak<dyn Any + Send + Sync>) {
        let mut joined = self.shared.joined_by.lock();
        joined.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&supervisor));
        joined.push(supervisor);
    }

    /// Returns the supervisors that have joined.
    pub(crate) fn supervisors(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
        self.shared.joined_by.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

/// Fails in a process that was forked, where the threads of the cluster don't exist.
pub(crate) fn not_in_a_fork() -> Result<(), ClusterError> {
    match fork::is_copy() {
        true => Err(ClusterError::invalid(fork::error().to_string())),
        false => Ok(()),
    }
}
