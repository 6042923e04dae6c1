//! A namespace with its members, in one thread and with a paused clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::runner::{FakeRunner, Log, Plan};
use crate::cluster::door::{
    CallEnd, CallEvent, CallHead, CallSink, FunctionKey, NewCall, NodeOffer, RetryPause,
};
use crate::cluster::memory::{Faults, Hub, MemoryOptions};
use crate::cluster::protocol::{Serving, Session};
use crate::id::TaskId;
use crate::priority::Priority;
use crate::sync::lock::Mutex;

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) fn id(number: u64) -> TaskId {
    TaskId::from_parts(1, number)
}

/// Runs a test with a paused clock, which jumps to the next event when nothing can be done.
pub(super) fn simulate<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(test))
}

pub(super) struct World {
    pub(super) hub: Arc<Hub>,
    pub(super) faults: Faults,
    pub(super) log: Arc<Mutex<Log>>,
    seeds: fastrand::Rng,
}

/// A member that can die.
pub(super) struct Living {
    pub(super) session: Arc<Session>,
    life: JoinHandle<()>,
}

impl Living {
    /// Ends the member without a word.
    pub(super) fn die(&self) {
        self.life.abort();
    }
}

/// What a call was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) events: Mutex<Vec<CallEvent>>,
    changed: Notify,
}

impl CallSink for Told {
    fn event(&self, event: CallEvent) {
        self.events.lock().push(event);
        self.changed.notify_waiters();
    }
}

impl Told {
    pub(super) fn new() -> Arc<Told> {
        Arc::default()
    }

    pub(super) fn ends(&self) -> Vec<CallEnd> {
        let end = |event: &CallEvent| match event {
            CallEvent::Ended(end) => Some(end.clone()),
            _ => None,
        };
        self.events.lock().iter().filter_map(end).collect()
    }

    /// Waits for an event.
    pub(super) async fn until(&self, is_it: impl Fn(&CallEvent) -> bool) {
        let seen = async {
            loop {
                let changed = self.changed.notified();
                if self.events.lock().iter().any(&is_it) {
                    return;
                }
                changed.await;
            }
        };
        let limit = Duration::from_secs(600);
        let seen = tokio::time::timeout(limit, seen).await;
        assert!(seen.is_ok(), "not told within {limit:?}: {:?}", self.events.lock());
    }

    pub(super) async fn stored(&self) {
        self.until(|event| !matches!(event, CallEvent::Message(_))).await;
    }

    pub(super) async fn begun(&self) {
        self.until(|event| matches!(event, CallEvent::Begun { .. })).await;
    }

    pub(super) async fn end(&self) -> CallEnd {
        self.until(|event| matches!(event, CallEvent::Ended(_))).await;
        self.ends().remove(0)
    }

    pub(super) fn messages(&self) -> Vec<Vec<u8>> {
        let message = |event: &CallEvent| match event {
            CallEvent::Message(message) => Some(message.to_vec()),
            _ => None,
        };
        self.events.lock().iter().filter_map(message).collect()
    }
}

pub(super) fn function(name: &str) -> FunctionKey {
    FunctionKey { name: name.to_owned(), signature: 1 }
}

/// Returns a call without any extras.
pub(super) fn head(id: TaskId) -> CallHead {
    CallHead {
        id,
        name: "f".to_owned(),
        function: function("f"),
        queue: "default".to_owned(),
        priority: Priority::Normal,
        timeout: None,
        retries: 0,
        retry: RetryPause::Fixed(Duration::from_millis(100)),
        redeliver: 2,
        expires: None,
        unique: None,
        types: "()".to_owned(),
        has_channels: false,
        trace: None,
    }
}

pub(super) fn call(head: CallHead, plan: &Plan) -> NewCall {
    NewCall { head, args: plan.encode().into() }
}

pub(super) fn offer(name: &str, slots: usize, queues: &[&str]) -> NodeOffer {
    NodeOffer {
        name: name.to_owned(),
        host: "host".to_owned(),
        pid: 1,
        queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        slots: slots as u32,
        reserve_normal: 0,
        reserve_high: 0,
        prefetch: None,
        functions: vec![function("f")],
        build: String::new(),
    }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World::with(seed, MemoryOptions::default())
    }

    pub(super) fn with(seed: u64, options: MemoryOptions) -> World {
        let hub = Hub::with_epoch(options, 1_000_000_000_000_000_000);
        let faults = Faults::new(hub.clone());
        faults.seed(seed);
        World { hub, faults, log: Arc::default(), seeds: fastrand::Rng::with_seed(seed) }
    }

    pub(super) fn member(&mut self, name: &str) -> Living {
        let (session, run) = Session::over(self.hub.connect(name), self.seeds.u64(..));
        Living { session, life: tokio::task::spawn_local(run) }
    }

    pub(super) fn runner(&self, name: &str, slots: usize) -> FakeRunner {
        FakeRunner::new(name, slots, vec![function("f")], self.log.clone())
    }

    /// Returns a member that serves the queue "default".
    pub(super) async fn node(&mut self, name: &str, slots: usize) -> (Living, Serving) {
        let member = self.member(name);
        let runner = Arc::new(self.runner(name, slots));
        let serving = member.session.serve(offer(name, slots, &["default"]), runner).await;
        (member, serving.unwrap())
    }

    /// Waits until the queues are empty.
    pub(super) async fn queues_are_empty(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.hub.entries().is_empty() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Returns how many runs of each call have begun.
    pub(super) fn runs(&self, id: TaskId) -> usize {
        self.log.lock().runs.get(&id).map_or(0, Vec::len)
    }

    pub(super) fn all_runs(&self) -> BTreeMap<TaskId, usize> {
        self.log.lock().runs.iter().map(|(id, runs)| (*id, runs.len())).collect()
    }
}
