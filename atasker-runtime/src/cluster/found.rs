//! Calls that are found again by their id.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::call::{Call, Messages, may_block};
use super::door::{CallHead, Canceled, Found, FoundState, Killed, NodeRef};
use super::error::ClusterError;
use super::handle::{Cluster, not_in_a_fork};
use super::protocol::Pending;
use crate::error::{KillError, TaskError};
use crate::fork;
use crate::id::TaskId;
use crate::info::{Outcome, TaskInfo, TaskStatus, TaskType};
use crate::task::park;
use crate::time::clock;

/// A call to which this process listens, before it has a task.
pub(crate) struct Attached {
    /// For [`Elsewhere::attached`](crate::task::elsewhere::Elsewhere).
    pub(crate) call: Arc<dyn Any + Send + Sync>,
    pub(crate) head: CallHead,
}

/// A request to listen to a call.
pub(crate) struct Attaching {
    call: Arc<Call>,
    answer: Option<Pending<Result<CallHead, ClusterError>>>,
    is_attached: bool,
}

/// Requests to listen to a call, and where its messages go from now on.
pub(crate) fn attach(cluster: &Cluster, id: TaskId, messages: Messages) -> Attaching {
    let call = Call::unbound(Arc::clone(&cluster.shared), id, messages);
    let (session, listener) = (cluster.session(), call.listener());
    let answer = Some(match messages {
        Messages::Here => session.attach(id, listener),
        Messages::Elsewhere => session.listen(id, listener),
    });
    Attaching { call, answer, is_attached: false }
}

impl Attaching {
    #[track_caller]
    pub(crate) fn wait(mut self) -> Result<Attached, ClusterError> {
        let answer = self.answer.take().map_or(Err(ClusterError::Closed), Pending::wait);
        self.attached(answer)
    }

    pub(crate) async fn finish(mut self) -> Result<Attached, ClusterError> {
        let answer = match self.answer.take() {
            Some(answer) => answer.await,
            None => Err(ClusterError::Closed),
        };
        self.attached(answer)
    }

    fn attached(
        &mut self,
        answer: Result<CallHead, ClusterError>,
    ) -> Result<Attached, ClusterError> {
        match answer {
            Ok(head) => {
                self.is_attached = true;
                Ok(Attached { call: Arc::clone(&self.call) as _, head })
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        if !self.is_attached {
            // What is told of the call is not kept.
            self.call.release();
        }
    }
}

/// A call that was found by its id, without its types. See [`Cluster::find`].
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Cluster, ClusterError, TaskId};
/// /// Stops a call that any process has launched. Returns whether the cluster knows it.
/// fn stop(cluster: &Cluster, id: TaskId) -> Result<bool, ClusterError> {
///     let found = cluster.find(id)?;
///     if let Some(call) = &found {
///         call.stop();
///     }
///     Ok(found.is_some())
/// }
/// # assert_eq!(stop(&Cluster::in_memory(), "1-1".parse().unwrap()), Ok(false));
/// ```
#[derive(Clone)]
pub struct RemoteTask {
    cluster: Cluster,
    id: TaskId,
    /// When this process has found it.
    found: SystemTime,
}

impl fmt::Debug for RemoteTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTask").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Finds a call by its id, also one that another process has launched. `None` if the cluster does
    /// not know it, or no longer.
    ///
    /// Calls that are not stored yet can't be found: see [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Returns an error if the broker does not answer.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop. Use [`find_async`](Self::find_async) there.
    #[track_caller]
    pub fn find(&self, id: TaskId) -> Result<Option<RemoteTask>, ClusterError> {
        not_in_a_fork()?;
        Ok(self.session().find(id).wait()?.map(|_| RemoteTask::new(self, id)))
    }

    /// Finds a call as [`find`](Self::find) does, without blocking.
    ///
    /// # Errors
    ///
    /// Returns an error if the broker does not answer.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe.
    pub async fn find_async(&self, id: TaskId) -> Result<Option<RemoteTask>, ClusterError> {
        not_in_a_fork()?;
        Ok(self.session().find(id).await?.map(|_| RemoteTask::new(self, id)))
    }
}

impl RemoteTask {
    fn new(cluster: &Cluster, id: TaskId) -> RemoteTask {
        RemoteTask { cluster: cluster.clone(), id, found: SystemTime::now() }
    }

    /// Returns the id of the call.
    pub fn id(&self) -> TaskId {
        self.id
    }

    #[track_caller]
    fn state(&self) -> Result<Found, ClusterError> {
        not_in_a_fork()?;
        let found = self.cluster.session().find(self.id).wait()?;
        found.ok_or_else(|| ClusterError::not_found(format!("the call {}", self.id)))
    }

    /// Returns what the broker knows about the call. The time at which it was queued is the one at
    /// which this process has found it; others are unknown.
    ///
    /// # Errors
    ///
    /// Returns [`NotFound`](ClusterError::NotFound) if the call is not kept any more, or an error if
    /// the broker does not answer.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn info(&self) -> Result<TaskInfo, ClusterError> {
        let Found { head, state } = self.state()?;
        let (status, node, attempt, losses) = match &state {
            FoundState::Queued => (TaskStatus::Queued, None, 0, 0),
            FoundState::Running { node, attempt, losses } => {
                (TaskStatus::Started, Some(node), *attempt, *losses)
            }
            FoundState::Waiting { attempt, losses } => {
                (TaskStatus::Delayed, None, *attempt, *losses)
            }
            FoundState::Ended { error, attempt, losses, node, .. } => {
                let status = match error {
                    Some(TaskError::Canceled) => TaskStatus::Canceled,
                    _ => TaskStatus::Completed,
                };
                (status, node.as_ref(), *attempt, *losses)
            }
        };
        let outcome = match &state {
            FoundState::Ended { error: Some(_), .. } => Some(Outcome::Failed),
            FoundState::Ended { is_err: true, .. } => Some(Outcome::ReturnedErr),
            FoundState::Ended { .. } => Some(Outcome::Ok),
            _ => None,
        };
        Ok(TaskInfo {
            id: self.id,
            name: head.name,
            tt: TaskType::Remote,
            priority: head.priority,
            status,
            time_queued: self.found,
            time_started: None,
            time_completed: None,
            delay: None,
            worker_pid: None,
            node: node.map(|NodeRef { name, .. }| name.to_string()),
            losses,
            progress: None,
            outcome,
            attempt,
        })
    }

    /// Asks the call to stop. A call that does not run is canceled. Returns at once.
    pub fn stop(&self) {
        if !fork::is_copy() {
            self.cluster.session().stop(self.id);
        }
    }

    /// Cancels the call if it does not run, and returns `true`: it never runs then. Otherwise asks it
    /// to stop and returns `false`. A call whose node is gone ends with `Canceled`, but the answer is `false`,
    /// because a node that is only cut off still runs it.
    ///
    /// Waits for the answer of the cluster for at most five seconds, then returns `false`; the
    /// request stands. On the thread of an aloop, it does not wait.
    pub fn cancel(&self) -> bool {
        if fork::is_copy() {
            return false;
        }
        let answer = self.cluster.session().cancel(self.id);
        may_block() && answer.wait() == Canceled::Yes
    }

    /// Cancels the call as [`cancel`](Self::cancel) does, without blocking.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, a request that was sent stands.
    pub async fn cancel_async(&self) -> bool {
        !fork::is_copy() && self.cluster.session().cancel(self.id).await == Canceled::Yes
    }

    /// Ends the call. If it runs, its worker process is killed.
    ///
    /// # Errors
    ///
    /// Returns [`KillError::Unsupported`] if the call runs on a thread of its node, and
    /// [`KillError::Unreachable`] if the cluster has not answered within five seconds; the request
    /// stands. On the thread of an aloop, it does not wait.
    pub fn kill(&self) -> Result<(), KillError> {
        if fork::is_copy() {
            return Err(KillError::Unsupported);
        }
        let answer = self.cluster.session().kill(self.id);
        if !may_block() {
            return Err(KillError::Unreachable);
        }
        match answer.wait() {
            Killed::Yes => Ok(()),
            Killed::Unsupported => Err(KillError::Unsupported),
            Killed::Unknown => Err(KillError::Unreachable),
        }
    }

    /// Blocks until the call has ended.
    ///
    /// Asks the broker again and again, with pauses of up to a second, and does not divert the
    /// messages of the task. To be woken at once, use a handle: [`Cluster::task`].
    ///
    /// # Errors
    ///
    /// Returns the error with which the call has ended. A result that is an `Err` is no such error.
    /// Returns [`TaskError::Cluster`] if the call is not kept any more, or the broker does not answer.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn wait(&self) -> Result<(), TaskError> {
        let mut pause = Duration::from_millis(20);
        loop {
            let found = self.state().map_err(ClusterError::into_task_error)?;
            if let FoundState::Ended { error, .. } = found.state {
                return error.map_or(Ok(()), Err);
            }
            park::sleep_on(clock::after(pause), |_| std::task::Poll::<()>::Pending);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}
