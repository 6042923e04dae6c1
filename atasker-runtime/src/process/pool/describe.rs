//! The state of a pool as text, for a test whose deadline has passed, and for diagnosing hangs.

use std::fmt::Write as _;
use std::time::Duration;

use crate::process::parent::peer::Peer;
use crate::process::pool::ProcessPool;
use crate::process::pool::lane::{Lane, Stage};

impl ProcessPool {
    /// Returns the state of the backlog, of every lane and of its calls.
    pub(crate) fn describe(&self) -> String {
        // With a timeout, because the pool may hang at this lock.
        let Some(inner) = self.inner.try_lock_for(Duration::from_secs(1)) else {
            return "the pool's lock is held\n".into();
        };
        let mut text = String::new();
        let _ = writeln!(
            text,
            "pool {}: open {}, waiting {}, held {} + {} critical, injector open to {:?}, start \
             failures {}, backing off {}, early deaths {}, deadlines {:?}, completing {}, blocked \
             launchers {}, started {}, tasks run {}, restarts {}",
            self.id,
            inner.open,
            inner.backlog.waiting(),
            inner.backlog.held(),
            inner.backlog.critical(),
            inner.injector_open_to,
            inner.start_failures,
            inner.is_backing_off(),
            inner.early_deaths,
            inner.deadlines,
            inner.completing,
            inner.room.len(),
            inner.started,
            inner.tasks_run,
            inner.restarts,
        );
        for (index, lane) in inner.lanes.iter().enumerate() {
            let _ = writeln!(text, "  lane {index}: {}", lane.describe());
        }
        text
    }
}

impl Lane<Peer> {
    /// Returns the state of the lane as text.
    pub(crate) fn describe(&self) -> String {
        let stage = match &self.stage {
            Stage::Empty => return "empty".into(),
            Stage::Starting => return "starting".into(),
            Stage::Live(worker) => worker.describe(),
        };
        let page = self.worker().map(|worker| &worker.page);
        let calls = self.calls.iter().enumerate().map(|(index, sent)| {
            let call = self.first + index as u64;
            let task = sent.as_ref().map(|sent| sent.job.header().name().to_owned());
            (call, page.and_then(|page| page.state(call)), task)
        });
        format!(
            "{stage}\n    ready {}, closing {}, dead {}, killed for {:?}, replying {:?}, live {}, slot \
             class {:?}, average {:?}, watched {}, stalled {}, decommitting {}, tasks {}\n    calls {:?}",
            self.ready,
            self.is_closing(),
            self.dead,
            self.killed_for,
            self.replying(),
            self.live,
            self.slot_class,
            self.average,
            self.watched_since != 0,
            self.stalled,
            self.decommitting,
            self.tasks,
            calls.collect::<Vec<_>>(),
        )
    }
}
