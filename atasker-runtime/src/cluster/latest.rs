//! What was last heard of a cluster: for what shows clusters, and must not wait for a broker.
//!
//! Metrics and the dashboard read the latest answer, and have the cluster asked again if that is too
//! old. The answer is stored on the thread of the cluster, so no thread waits for it. While the
//! broker is away, the latest answer stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::door::{DeadCall, Overview};
use super::error::ClusterError;
use super::handle::Cluster;
use crate::fork;
use crate::sync::lock::Mutex;

/// What was last heard of one cluster.
pub(crate) struct Latest {
    /// The number of the cluster within this process.
    key: u64,
    overview: Arc<Asked<Overview>>,
    dead: Arc<Asked<Vec<DeadCall>>>,
}

impl Latest {
    pub(super) fn new() -> Latest {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Latest {
            key: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            overview: Arc::default(),
            dead: Arc::default(),
        }
    }
}

/// One question, and the latest answer.
struct Asked<T> {
    state: Mutex<State<T>>,
    /// Notified of each answer.
    told: Notify,
}

struct State<T> {
    /// When the question was asked that is not answered yet.
    under_way: Option<Instant>,
    /// When the latest answer came, also if it was an error.
    answered: Option<Instant>,
    /// The latest answer that was no error.
    answer: Option<Arc<T>>,
    /// The latest answer was an error.
    error: Option<ClusterError>,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        let state = State { under_way: None, answered: None, answer: None, error: None };
        Asked { state: Mutex::new(state), told: Notify::new() }
    }
}

/// What is known now.
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// The latest answer. `None` if there was none.
    pub(crate) answer: Option<Arc<T>>,
    /// Why the answer is old.
    pub(crate) error: Option<ClusterError>,
    /// The question was asked, and is not answered yet.
    pub(crate) under_way: bool,
}

impl<T> Asked<T> {
    /// Returns what to answer to, unless the latest answer is younger than `max_age`, or one is under
    /// way.
    fn ask(self: &Arc<Self>, max_age: Duration) -> Option<Reply<T>> {
        let mut state = self.state.lock();
        let is_fresh = state.answered.is_some_and(|answered| answered.elapsed() < max_age);
        if is_fresh || state.under_way.is_some() {
            return None;
        }
        state.under_way = Some(Instant::now());
        Some(Reply { to: Arc::clone(self), is_told: false })
    }

    /// Waits until there was an answer, also if that was an error.
    async fn first(&self) {
        loop {
            let told = self.told.notified();
            if self.state.lock().answered.is_some() {
                return;
            }
            told.await;
        }
    }

    fn known(&self) -> Known<T> {
        let state = self.state.lock();
        let late = state.under_way.filter(|asked| asked.elapsed() > super::ANSWER_LIMIT);
        let late = late.map(|_| ClusterError::unreachable("it has not answered in time"));
        Known {
            answer: state.answer.clone(),
            error: late.or_else(|| state.error.clone()),
            under_way: state.under_way.is_some(),
        }
    }
}

/// Takes one answer. If it is dropped without, the cluster was closed.
struct Reply<T> {
    to: Arc<Asked<T>>,
    is_told: bool,
}

impl<T> Reply<T> {
    fn tell(mut self, answer: Result<T, ClusterError>) {
        self.is_told = true;
        self.store(answer);
    }

    fn store(&self, answer: Result<T, ClusterError>) {
        let mut state = self.to.state.lock();
        state.under_way = None;
        state.answered = Some(Instant::now());
        let before = match answer {
            Ok(answer) => {
                state.error = None;
                state.answer.replace(Arc::new(answer))
            }
            Err(error) => {
                state.error = Some(error);
                None
            }
        };
        drop(state);
        self.to.told.notify_waiters();
        drop(before);
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if !self.is_told {
            self.store(Err(ClusterError::Closed));
        }
    }
}

impl Cluster {
    /// Returns the number of the cluster within this process.
    pub(crate) fn key(&self) -> u64 {
        self.shared.latest.key
    }

    /// Returns the nodes and queues as they were last heard of, at once. Asks again if that is older
    /// than `max_age`.
    pub(crate) fn latest_overview(&self, max_age: Duration) -> Known<Overview> {
        let asked = &self.shared.latest.overview;
        if !fork::is_copy()
            && let Some(reply) = asked.ask(max_age)
        {
            self.session().overview_then(move |answer| reply.tell(answer));
        }
        asked.known()
    }

    /// Returns the dead letters as they were last heard of, at once. Asks again if that is older than
    /// `max_age`.
    pub(crate) fn latest_dead(&self, max_age: Duration) -> Known<Vec<DeadCall>> {
        let asked = &self.shared.latest.dead;
        if !fork::is_copy()
            && let Some(reply) = asked.ask(max_age)
        {
            self.session().dead_letters_then(move |answer| reply.tell(answer));
        }
        asked.known()
    }

    /// Waits until anything was heard of the cluster, for `limit` at most.
    #[cfg(feature = "dashboard")]
    pub(crate) async fn heard_of(&self, limit: Duration) {
        let Latest { overview, dead, .. } = &self.shared.latest;
        self.latest_overview(Duration::MAX);
        self.latest_dead(Duration::MAX);
        let both = async {
            overview.first().await;
            dead.first().await;
        };
        let _ = tokio::time::timeout(limit, both).await;
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn latest_answer_stays_while_there_are_errors() {
        let asked: Arc<Asked<u32>> = Arc::default();
        assert!(asked.known().answer.is_none());
        let reply = asked.ask(Duration::ZERO).unwrap();
        assert!(asked.known().under_way);
        assert!(asked.ask(Duration::ZERO).is_none(), "one question at a time");
        reply.tell(Ok(7));
        assert!(asked.ask(Duration::from_secs(3600)).is_none(), "the answer is fresh");

        // The broker is away, then the cluster is closed.
        let reply = asked.ask(Duration::ZERO).unwrap();
        reply.tell(Err(ClusterError::unreachable("gone")));
        let known = asked.known();
        assert_eq!(known.answer.as_deref(), Some(&7));
        assert!(matches!(known.error, Some(ClusterError::Unreachable { .. })));
        drop(asked.ask(Duration::ZERO).unwrap());
        let known = asked.known();
        assert_eq!((known.answer.as_deref(), known.under_way), (Some(&7), false));
        assert_eq!(known.error, Some(ClusterError::Closed));

        asked.ask(Duration::ZERO).unwrap().tell(Ok(8));
        let known = asked.known();
        assert_eq!((known.answer.as_deref(), known.error), (Some(&8), None));
    }
}
