//! What a link thread, and the spawner, tell the pool about a worker process.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock;
use crate::error::TaskError;
use crate::job::Job;
use crate::process::deal::Inner;
use crate::process::lane::{Finished, Sent, Stage, Whereabouts, Why};
use crate::process::link::{Settled, Worker, settle};
use crate::process::look::{look_for, next as next_window};
use crate::process::page::{ReplyAt, Step};
use crate::process::pool::ProcessPool;
use crate::task::AnyTask;
use crate::task::panic::guarded;
use crate::timer;

/// What a dead worker process leaves.
pub(super) struct Leavings {
    /// The calls that had begun: one at most.
    pub(super) begun: Vec<(u64, Sent)>,
    /// The call for which it was killed.
    pub(super) doomed: Option<(u64, Why)>,
    /// It had been told to end.
    pub(super) was_closing: bool,
}

/// Where worker processes may be idle for less than this, no other thread than its link takes a
/// reply in: only links see to it in time that idle ones end.
const OWN: Duration = Duration::from_secs(1);

/// See [`ProcessPool::rest`].
pub(super) enum Rest {
    /// There is something to take in already.
    Not,
    /// So many nanoseconds at most.
    Until(Option<u64>),
}

impl Inner {
    /// So many calls of a lane are done.
    fn note_done(&mut self, index: usize, count: u64) {
        self.tasks_run += count;
        self.early_deaths = 0;
        self.settle_slot(index);
        let lane = &mut self.lanes[index];
        if lane.live() == 0
            && !lane.is_closing()
            && self.config.max_tasks_per_worker.is_some_and(|most| lane.tasks >= most)
        {
            lane.close();
            if let Some(worker) = lane.worker() {
                worker.post_shutdown();
            }
        }
    }
}

impl ProcessPool {
    /// A worker process runs in this lane. False: it is not wanted any more.
    pub(super) fn joined(&self, lane: usize, worker: &Arc<Worker>) -> bool {
        self.with_lanes(|inner, deeds| {
            if !inner.open {
                inner.lanes[lane].stage = Stage::Empty;
                self.ended.notify_all();
                return false;
            }
            inner.lanes[lane].join(worker);
            inner.fill(deeds, self);
            true
        })
    }

    /// The worker process of this lane can serve.
    pub(super) fn proven(&self, lane: usize) {
        self.with_lanes(|inner, deeds| {
            inner.lanes[lane].proven = true;
            inner.failures = 0;
            inner.fill(deeds, self);
        });
    }

    /// No worker process could be started in this lane.
    pub(super) fn failed(&self, lane: usize, why: &str) {
        let (failures, told) = self.with(|inner, deeds| {
            inner.lanes[lane].stage = Stage::Empty;
            let told = inner.note_failure(self);
            inner.fill(deeds, self);
            (inner.failures, told)
        });
        self.tell_failed(failures, told, why);
    }

    /// Outside of the pool's lock, for whoever hears of it may launch tasks.
    fn tell_failed(&self, failures: u32, told: Vec<Job>, why: &str) {
        self.ended.notify_all();
        guarded(|| {
            tracing::warn!(
                target: "atasker", supervisor = %self.id, failures,
                "a worker process could not start: {why}"
            );
        });
        for job in told {
            let detail = format!("no worker process could be started, {failures} in a row: {why}");
            guarded(|| job.end(TaskError::not_started(detail)));
        }
    }

    /// Takes in what a worker has done, and gives it more.
    /// False: what stands in the page makes no sense.
    #[must_use]
    pub(super) fn reap(&self, index: usize, finished: &mut VecDeque<Finished>) -> bool {
        self.with_lanes(|inner, deeds| {
            let before = finished.len();
            let stalled = inner.lanes[index].stalled;
            let sane = inner.lanes[index].reap(finished);
            let done = finished.len() - before;
            if done == 0 {
                if stalled && !inner.lanes[index].stalled {
                    inner.fill(deeds, self);
                }
                return sane;
            }
            inner.note_done(index, done as u64);
            inner.fill(deeds, self);
            sane
        })
    }

    /// Looks for a moment whether a task ends that was sent to a worker process, and takes its reply
    /// in, so that neither the link's thread nor the caller has to be woken. False: it has not ended.
    pub(super) fn look_for(&self, task: &dyn AnyTask) -> bool {
        let state = &task.header().state;
        if !task.is_plain() {
            // What is called at its end may take as long as it likes: not in the middle of a wait.
            return false;
        }
        let (lane, call, worker) = {
            let inner = self.inner.lock();
            if inner.config.idle_timeout < OWN {
                return false;
            }
            let Whereabouts::Lane { lane, call } = inner.whereabouts(task) else {
                return state.read().is_ended();
            };
            let Some(worker) = inner.worker_of(lane, call) else {
                return state.read().is_ended();
            };
            if worker.is_over_sockets() {
                // Only its link sees what becomes of the call.
                return false;
            }
            (lane, call, worker)
        };
        let window = self.look.load(Ordering::Relaxed);
        let ours = Cell::new(true);
        // The worker may leave a call to us: then it is ours, or we have the link look.
        let take = || {
            if !state.read().is_ended()
                && ours.replace(false)
                && !self.take_own(lane, call, &worker)
            {
                worker.ring_link();
            }
        };
        let look_away = || {
            if worker.page.look_away(call) {
                take();
            }
        };
        worker.page.look_at(call);
        let ended = look_for(
            window,
            |_| {
                if worker.page.step(call) == Some(Step::Done) {
                    take();
                }
                state.read().is_ended()
            },
            || {
                // Nobody relies on a thread that may not run for a while.
                look_away();
                std::thread::yield_now();
                worker.page.look_at(call);
            },
        );
        look_away();
        self.look.store(next_window(window, ended), Ordering::Relaxed);
        ended || state.read().is_ended()
    }

    /// Takes a call in that is done, and settles it. False: that is for the link.
    fn take_own(&self, index: usize, call: u64, worker: &Arc<Worker>) -> bool {
        let (done, deeds) = self.lanes_and_deeds(|inner, deeds| {
            let done = inner.lanes[index].reap_own(call)?;
            inner.note_done(index, 1);
            inner.fill(deeds, self);
            let lane = &inner.lanes[index];
            let page = &worker.page;
            // The link sleeps until this call is done: it is for the next one now.
            let sleeps = page.wakes_at().is_some_and(|at| at <= call);
            let first = lane.first_call();
            let wanted = first + lane.live() as u64 / 2;
            if lane.is_closing() || sleeps && !page.sleep_until(wanted, first) {
                worker.ring_link();
            }
            inner.settling += 1;
            Some(done)
        });
        let is_ours = done.is_some();
        if let Some(done) = done {
            // A stop returns when this task has ended, too.
            let _settled = Settled(self);
            if let ReplyAt::Slot { ok, .. } | ReplyAt::Area { ok, .. } = done.reply {
                settle(worker, done, ok, None);
            }
        }
        // Last: other tasks' arguments may be large.
        deeds.do_them();
        is_ours
    }

    /// What a link waits for next, and how long at most.
    pub(super) fn rest(&self, index: usize, worker: &Worker) -> Rest {
        /// When more than one call is under way, the link looks so often whether they move.
        const LOOK: u64 = 1_000_000;
        let mut inner = self.inner.lock();
        let idle_timeout = inner.config.idle_timeout;
        let spare =
            inner.lanes.iter().filter(|lane| lane.is_open()).count() > inner.config.min_size;
        let lane = &mut inner.lanes[index];
        let spare = spare || lane.stalled;
        let (first, live) = (lane.first_call(), lane.live());
        let call = first + live as u64 / 2;
        if live <= 1 {
            lane.watched_since = 0;
        }
        let nanos = if lane.dead {
            None
        } else if live > 1 {
            // Since the last look, however often the link was woken meanwhile.
            let now = clock::now();
            if lane.watched_since == 0 {
                lane.watched_since = now;
            }
            Some(LOOK.saturating_sub(now.saturating_sub(lane.watched_since)))
        } else if let Some(left) = lane.grace_left() {
            Some(left.as_nanos() as u64)
        } else if live == 0 && !lane.is_closing() && spare && lane.proven {
            let idle = Duration::from_nanos(clock::now().saturating_sub(lane.idle_since));
            Some(idle_timeout.saturating_sub(idle).as_nanos().try_into().unwrap_or(u64::MAX))
        } else if live == 1 && spare && lane.proven && lane.doomed.is_none() {
            // Whoever waits for the call may take its reply in, and the lane is idle from then on.
            Some(idle_timeout.max(OWN).as_nanos().try_into().unwrap_or(u64::MAX))
        } else {
            None
        };
        let nanos = match lane.keeps_for() {
            Some(left) => {
                let left = left.as_nanos() as u64;
                Some(nanos.map_or(left, |nanos| nanos.min(left)))
            }
            None => nanos,
        };
        // One that is killed is waited for, and what it still does in the page is not.
        if lane.proven && lane.doomed.is_none() && !worker.page.sleep_until(call, first) {
            return Rest::Not;
        }
        Rest::Until(nanos)
    }

    /// The time that [`rest`](Self::rest) said is over.
    pub(super) fn overslept(&self, index: usize, worker: &Worker) {
        let forget = self.inner.lock().lanes[index].begin_to_forget();
        if let Some(used) = forget {
            // Not under the lock: it takes its time.
            worker.forget_args(used);
            self.inner.lock().lanes[index].forgotten();
        }
        self.with_lanes(|inner, deeds| {
            let now = clock::now();
            let spare =
                inner.lanes.iter().filter(|lane| lane.is_open()).count() > inner.config.min_size;
            let idle_timeout = inner.config.idle_timeout;
            let lane = &mut inner.lanes[index];
            let spare = spare || lane.stalled;
            if lane.grace_left() == Some(Duration::ZERO) {
                // It was told to end and does not: stopped, or stuck in its `worker_exit`.
                lane.dead = true;
                deeds.kill.extend(lane.worker().cloned());
                return;
            }
            if lane.live() == 0 {
                let idle = Duration::from_nanos(now.saturating_sub(lane.idle_since));
                if spare && !lane.is_closing() && idle >= idle_timeout {
                    lane.close();
                    if let Some(worker) = lane.worker() {
                        worker.post_shutdown();
                    }
                }
                return;
            }
            lane.watched_since = now;
            // Calls wait behind one that takes long: others shall have them.
            let first = lane.first_call();
            if lane.live() > 1 && lane.has_begun(first) {
                let begun = inner.begun(index, first);
                let passed = now.saturating_sub(begun);
                if passed >= 500_000 {
                    inner.lanes[index].note_long(passed);
                    for sent in inner.lanes[index].revoke_all(|_| true) {
                        let priority = sent.priority;
                        let job = inner.unsend(index, sent);
                        inner.put_back(priority, job);
                    }
                    inner.fill(deeds, self);
                }
            }
        });
    }

    /// A worker process has ended. What it leaves: calls that had begun, and for what it was killed.
    /// `never_served` says why, if it had not come to serve; `all_read`: all that it had said.
    pub(super) fn lost(
        &self,
        index: usize,
        never_served: Option<&str>,
        all_read: bool,
    ) -> Leavings {
        let (leavings, failures, told) = self.with(|inner, deeds| {
            inner.settling += 1;
            let left = inner.lanes[index].wreck(all_read);
            inner.settle_slot(index);
            let lane = &mut inner.lanes[index];
            let doomed = lane.doomed.take();
            lane.stage = Stage::Empty;
            let mut told = match never_served {
                Some(_) => inner.note_failure(self),
                None => {
                    inner.note_room();
                    Vec::new()
                }
            };
            let was_closing = inner.lanes[index].is_closing();
            if !was_closing || doomed.is_some() {
                inner.restarts += 1;
            }
            let (begun, unbegun): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(_, _, begun)| *begun);
            let in_peace = never_served.is_none() && doomed.is_none() && !was_closing;
            if in_peace && inner.lanes[index].tasks == unbegun.len() as u64 {
                inner.note_early_death(self);
            }
            for (_, sent, _) in unbegun.into_iter().rev() {
                if let Some(key) = sent.limit {
                    timer::cancel(key);
                }
                if inner.is_hopeless() {
                    told.push(sent.job);
                } else {
                    inner.put_back(sent.priority, sent.job);
                }
            }
            inner.fill(deeds, self);
            let begun = begun.into_iter().map(|(call, sent, _)| (call, sent)).collect();
            (Leavings { begun, doomed, was_closing }, inner.failures, told)
        });
        self.ended.notify_all();
        if let Some(why) = never_served {
            self.tell_failed(failures, told, why);
        }
        leavings
    }

    /// What a worker process has left, since [`lost`](Self::lost), is ended.
    pub(super) fn settled(&self) {
        self.inner.lock().settling -= 1;
        self.ended.notify_all();
    }

    /// The reply to a call that is done has come through the socket.
    pub(super) fn arrived(&self, index: usize, call: u64) {
        self.inner.lock().lanes[index].arrived(call);
    }

    /// The worker process of this lane is dead, or must die: it gets nothing more.
    pub(super) fn dying(&self, index: usize) {
        self.inner.lock().lanes[index].dead = true;
    }

    /// The task of a call that is under way.
    pub(super) fn task_of(&self, index: usize, call: u64) -> Option<Arc<dyn AnyTask>> {
        let mut inner = self.inner.lock();
        inner.lanes[index].get(call).map(|sent| Arc::clone(sent.job.task()))
    }
}
