//! One worker process as the pool keeps it: what was sent, what is under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::{self, Stamp};
use crate::error::TaskError;
use crate::job::Job;
use crate::priority::Priority;
use crate::process::carry::{AT_ONCE, KEEP};
use crate::process::link::Worker;
use crate::process::page::{ArgsAt, INLINE, Order, ReplyAt, SLOTS, Step, Times};
use crate::process::ring::Ring;
use crate::registry;
use crate::sys::cpus::prefetch;
use crate::sys::link::monotonic;
use crate::task::AnyTask;
use crate::timer::TimerKey;
use crate::wire::encoded::Encoded;

/// So much work, in nanoseconds, is sent to a worker in advance.
const AHEAD: u64 = 200_000;
/// Calls with more encoded arguments than this are not sent in advance.
const AHEAD_BYTES: usize = 4096;

/// How long a worker process that was told to end may take, its `worker_exit` included.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What a lane is, apart from its calls.
#[derive(Default)]
pub(super) enum Stage {
    #[default]
    Empty,
    Starting,
    Live(Arc<Worker>),
}

/// Why a worker process is ended while it runs a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// `kill()`.
    Kill,
    /// The time limit of the run.
    Limit(Duration),
    /// The supervisor stops.
    Stop,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) stage: Stage,
    /// Its worker process has shown that it can serve.
    pub(super) proven: bool,
    /// It gets no more calls, since then; 0: it does.
    closing_since: Stamp,
    /// Its worker process is dead, or as good as that.
    pub(super) dead: bool,
    /// The call for which its worker process was killed.
    pub(super) doomed: Option<(u64, Why)>,
    /// The last call that is done and whose reply is still on its way through the socket. All
    /// replies before it are there, or in the socket to their last byte.
    replying: Option<u64>,
    /// Calls in the page, in order; revoked ones are `None` until the worker has skipped them.
    calls: VecDeque<Option<Sent>>,
    /// The number of the first of them.
    first: u64,
    /// Of them, those that were not revoked.
    live: usize,
    /// The same of each priority: most questions are answered without looking at the calls.
    live_of: [usize; 4],
    /// The class of the slot that it holds while there are such.
    pub(super) holds: Option<Priority>,
    /// How long its calls take, on average, in nanoseconds.
    usual: Option<u64>,
    /// Its link looks in a moment whether its calls move: it last did so then; 0: it does not.
    pub(super) watched_since: Stamp,
    /// The call that it should have begun, when the pool last looked.
    unbegun: Option<u64>,
    /// Its worker process is stopped (by SIGSTOP, by a debugger) and does not begin what it is sent:
    /// it gets no more until it has passed over what was taken back from it.
    pub(super) stalled: bool,
    /// Who has which place in the area of arguments.
    places: Ring,
    /// The memory of that area is being given back.
    forgetting: bool,
    /// Its worker process shares no page: see `over_sockets`.
    pub(super) one_by_one: bool,
    /// Tasks sent to the present worker process, except revoked ones.
    pub(super) tasks: u64,
    /// Without calls since.
    pub(super) idle_since: Stamp,
}

/// A call in a lane.
pub(super) struct Sent {
    pub(super) job: Job,
    pub(super) priority: Priority,
    pub(super) limit: Option<TimerKey>,
}

/// A call whose reply is there, or on its way.
pub(super) struct Finished {
    pub(super) call: u64,
    pub(super) sent: Sent,
    pub(super) times: Times,
    pub(super) progress: Option<(u64, u64)>,
    pub(super) reply: ReplyAt,
    /// The reply, where it stood in the slot.
    pub(super) inline: Encoded,
    /// So many frames come before the reply.
    pub(super) after: u64,
}

/// What has become of the first call of a lane.
pub(super) enum First {
    /// It is done.
    Finished(Finished),
    /// It was taken back, and the worker has passed over it.
    Skipped,
    /// It is under way, or there is none.
    Stays,
    /// What the page says makes no sense.
    Nonsense,
}

/// A call that was sent.
pub(super) struct SentAt {
    pub(super) call: u64,
    /// All of it is there for the worker.
    pub(super) inline: bool,
}

/// A call that can't be sent, and why.
pub(super) struct Unsendable(pub(super) Job, pub(super) TaskError);

impl Lane {
    pub(super) fn worker(&self) -> Option<&Arc<Worker>> {
        match &self.stage {
            Stage::Live(worker) => Some(worker),
            _ => None,
        }
    }

    /// A worker process is there that takes calls.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Live(_)) && !self.is_closing() && !self.dead && !self.stalled
    }

    /// Its worker process has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.is_open() && self.live == 0 && self.has_room()
    }

    /// It gets no more calls from now on.
    pub(super) fn close(&mut self) {
        if self.closing_since == 0 {
            self.closing_since = clock::now();
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing_since != 0
    }

    /// Its worker process was told to end, and has nothing to do: how much longer it may take.
    pub(super) fn grace_left(&self) -> Option<Duration> {
        (self.is_closing() && self.live == 0).then(|| {
            let passed = clock::now().saturating_sub(self.closing_since);
            GRACE.saturating_sub(Duration::from_nanos(passed))
        })
    }

    fn has_room(&self) -> bool {
        self.calls.len() < SLOTS
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// The number that the next call gets.
    pub(super) fn next_call(&self) -> u64 {
        self.first + self.calls.len() as u64
    }

    /// The number of the first call that is not over.
    pub(super) fn first_call(&self) -> u64 {
        self.first
    }

    /// A new worker process takes the lane; calls count on, so that the number of a call of an
    /// earlier one is never taken for one of its.
    pub(super) fn start(&mut self) -> u64 {
        let next = self.next_call().max(1);
        *self = Lane { stage: Stage::Starting, first: next, usual: self.usual, ..Lane::default() };
        next
    }

    /// The number of the last call that was not taken back.
    pub(super) fn last_call(&self) -> Option<u64> {
        let at = self.calls.iter().rposition(Option::is_some)?;
        Some(self.first + at as u64)
    }

    /// Whether no call that was not taken back stands before this one.
    pub(super) fn is_first(&self, call: u64) -> bool {
        let at = self.calls.iter().position(Option::is_some);
        at.is_some_and(|at| self.first + at as u64 == call)
    }

    /// Whether one more call may wait behind the ones it has.
    pub(super) fn takes_more(&self, bytes: usize) -> bool {
        if self.one_by_one {
            return false;
        }
        let Some(usual) = self.usual else {
            return false;
        };
        let depth = (AHEAD / usual.max(1)) as usize;
        self.proven && self.has_room() && bytes <= AHEAD_BYTES && self.live < depth.clamp(1, SLOTS)
    }

    /// Whether a further call, appended now, would begin sooner than a sleeping worker wakes up.
    pub(super) fn is_nearly_free(&self) -> bool {
        const WAKING: u64 = 10_000;
        self.usual.is_some_and(|usual| usual.saturating_mul(self.live as u64) < WAKING)
            && self.worker().is_some_and(|worker| !worker.page.worker_sleeps())
    }

    /// Sends a call. Arguments that do not fit into the page, and are many, are left with the worker's
    /// link: it has to be told then.
    pub(super) fn send(&mut self, job: Job, priority: Priority) -> Result<SentAt, Box<Unsendable>> {
        let call = self.first + self.calls.len() as u64;
        let task = &**job.task();
        let header = task.header();
        let Some((remote, args)) = task.remote().and_then(|r| Some((r, r.args().get()?))) else {
            let error = TaskError::not_started("its encoded arguments are gone");
            return Err(Box::new(Unsendable(job, error)));
        };
        let function = remote.function();
        let Some(index) = registry::index_of(function) else {
            let error = TaskError::not_started(
                "the function is not in the program's table: it belongs to a library that was \
                 loaded at run time",
            );
            drop(args);
            return Err(Box::new(Unsendable(job, error)));
        };
        let name = header.name();
        let name = if is_same(name, function.name) { "" } else { name };
        let Stage::Live(worker) = &self.stage else { unreachable!("only open lanes are sent to") };
        let at = match name.len() + args.len() {
            _ if self.one_by_one => ArgsAt::Socket,
            0..=INLINE => ArgsAt::Slot,
            _ if self.forgetting => ArgsAt::Socket,
            len => Self::place(worker, &mut self.places, call, len),
        };
        let order = Order {
            function: index,
            id: header.id.to_parts(),
            attempt: header.attempt() + 1,
            priority: priority.index() as u8,
            linked: header.links().is_some(),
            name_len: name.len(),
            args_len: args.len(),
            at,
        };
        match at {
            ArgsAt::Slot if name.is_empty() => worker.page.send(call, &order, &args),
            ArgsAt::Slot => {
                let mut both = Vec::with_capacity(INLINE);
                both.extend_from_slice(name.as_bytes());
                both.extend_from_slice(&args);
                worker.page.send(call, &order, &both);
            }
            ArgsAt::Area(at) => {
                worker.put_args(at, name, &args);
                worker.page.send(call, &order, &[]);
            }
            ArgsAt::Socket if self.one_by_one => {
                // First, for its link may hear at once that it has begun.
                worker.page.send(call, &order, &[]);
                worker.post_call(call, &order, name, args);
            }
            ArgsAt::Announced(_) | ArgsAt::Socket => {
                worker.post_args(call, name, args.shared(), at);
                worker.page.send(call, &order, &[]);
            }
        }
        self.calls.push_back(Some(Sent { job, priority, limit: None }));
        self.live += 1;
        self.live_of[priority.index()] += 1;
        self.tasks += 1;
        Ok(SentAt { call, inline: at.is_there() })
    }

    /// The call that was sent last, the worker that has it, and how many live ones that has.
    pub(super) fn just_sent(&mut self) -> (&Arc<Worker>, &mut Sent, usize) {
        match (&self.stage, self.calls.back_mut()) {
            (Stage::Live(worker), Some(Some(sent))) => (worker, sent, self.live),
            _ => unreachable!("a call was sent just now"),
        }
    }

    /// Where so many bytes of arguments go that do not fit into the page.
    fn place(worker: &Worker, places: &mut Ring, call: u64, len: usize) -> ArgsAt {
        // One large call at a time: what was taken back from a worker that is stopped stays there
        // until that goes on, and shall not pile up.
        if len > AT_ONCE && !places.is_free() {
            return ArgsAt::Socket;
        }
        if places.used() == 0 {
            // It looks from time to time, from now on, whether the memory is still needed.
            worker.ring_link();
        }
        match places.take(call, len) {
            Some(at) if !worker.reaches(at + len) => {
                places.untake();
                ArgsAt::Socket
            }
            Some(at) if len <= AT_ONCE => ArgsAt::Area(at),
            Some(at) => ArgsAt::Announced(at),
            None => ArgsAt::Socket,
        }
    }

    /// A worker process is there.
    pub(super) fn join(&mut self, worker: &Arc<Worker>) {
        self.stage = Stage::Live(Arc::clone(worker));
        self.places = worker.places();
        self.one_by_one = worker.is_over_sockets();
        self.idle_since = clock::now();
    }

    /// When to look whether the memory of arguments is still needed, if there is some.
    pub(super) fn keeps_for(&self) -> Option<Duration> {
        if self.places.used() == 0 || self.forgetting || self.dead {
            return None;
        }
        let unused = self.live == 0 && self.places.is_free();
        Some(if !unused {
            KEEP
        } else {
            let idle = Duration::from_nanos(clock::now().saturating_sub(self.idle_since));
            KEEP.saturating_sub(idle)
        })
    }

    /// Begins to give that memory back: so many bytes of it. No call gets a place there meanwhile.
    pub(super) fn begin_to_forget(&mut self) -> Option<usize> {
        if self.keeps_for() != Some(Duration::ZERO) {
            return None;
        }
        self.forgetting = true;
        Some(self.places.take_used())
    }

    /// It is given back.
    pub(super) fn forgotten(&mut self) {
        self.forgetting = false;
    }

    pub(super) fn get(&mut self, call: u64) -> Option<&mut Sent> {
        let index = usize::try_from(call.checked_sub(self.first)?).ok()?;
        self.calls.get_mut(index)?.as_mut()
    }

    /// The reply to this call is here.
    pub(super) fn arrived(&mut self, call: u64) {
        self.replying.take_if(|replying| *replying == call);
    }

    /// The call whose reply is still on its way.
    pub(super) fn replying(&self) -> Option<u64> {
        self.replying
    }

    /// Whether the worker is at this call and at no later one: it runs it, or writes its reply.
    pub(super) fn is_at(&mut self, call: u64) -> bool {
        let later = (call + 1).max(self.first)..self.next_call();
        let Stage::Live(worker) = &self.stage else {
            return false;
        };
        let begun = |step| matches!(step, Some(Step::Begun | Step::Done));
        !later.into_iter().any(|later| begun(worker.page.step(later))) && self.is_under_way(call)
    }

    /// Whether this call has begun and its reply is not there. One of which the page speaks nonsense
    /// counts as such.
    pub(super) fn has_begun(&mut self, call: u64) -> bool {
        self.get(call).is_some()
            && self.worker().is_some_and(|worker| match worker.page.step(call) {
                Some(Step::Begun) | None => true,
                Some(Step::Done) => worker.page.reply(call).0 == ReplyAt::Socket,
                _ => false,
            })
    }

    /// Whether the worker is at this call, or can't be kept from it, and its reply is not there.
    pub(super) fn is_under_way(&mut self, call: u64) -> bool {
        self.replying == Some(call) || self.has_begun(call) || self.has_set_out(call)
    }

    /// Whether this call is on its way to a worker that can't be told that it was taken back.
    fn has_set_out(&mut self, call: u64) -> bool {
        self.one_by_one
            && self.get(call).is_some()
            && self.worker().is_some_and(|worker| {
                worker.page.step(call) == Some(Step::Sent) && !worker.keeps(call)
            })
    }

    /// Takes a call back that has not begun.
    pub(super) fn revoke(&mut self, call: u64) -> Option<Sent> {
        let index = usize::try_from(call.checked_sub(self.first)?).ok()?;
        let slot = self.calls.get_mut(index)?;
        let Stage::Live(worker) = &self.stage else {
            return None;
        };
        if slot.is_none() || !worker.revoke(call) {
            return None;
        }
        let sent = slot.take()?;
        self.live -= 1;
        self.live_of[sent.priority.index()] -= 1;
        self.tasks -= 1;
        if self.one_by_one {
            // The worker has never heard of it.
            self.first = self.next_call();
            self.calls.clear();
        }
        Some(sent)
    }

    /// Takes back all calls that have not begun and that `wanted` names, the last first.
    pub(super) fn revoke_all(&mut self, wanted: impl Fn(Priority) -> bool) -> Vec<Sent> {
        let mut taken = Vec::new();
        for call in (self.first..self.next_call()).rev() {
            let hit = self.get(call).is_some_and(|sent| wanted(sent.priority));
            if hit && let Some(sent) = self.revoke(call) {
                taken.push(sent);
            }
        }
        taken
    }

    /// Whether a call of a priority that `wanted` names waits here behind another.
    pub(super) fn has_waiting(&self, wanted: impl Fn(Priority) -> bool) -> bool {
        self.live > 1 && Priority::ALL.into_iter().any(|p| self.live_of[p.index()] > 0 && wanted(p))
    }

    /// The call that the worker should begin next, if it has nothing else to do.
    fn next_to_begin(&self) -> Option<u64> {
        let call = self.first + self.calls.iter().position(Option::is_some)? as u64;
        (self.worker()?.page.step(call) == Some(Step::Sent)).then_some(call)
    }

    /// Whether the worker should have begun a call since this was asked before: it may be stopped.
    pub(super) fn is_suspect(&mut self) -> bool {
        let now = self.next_to_begin();
        let before = std::mem::replace(&mut self.unbegun, now);
        self.proven && !self.dead && now.is_some() && now == before
    }

    /// Whether there are calls that have not begun.
    pub(super) fn has_unbegun(&self) -> bool {
        self.live > 1 || self.next_to_begin().is_some()
    }

    /// Takes the calls out that are done or skipped. False: what the page says of the next one makes
    /// no sense.
    pub(super) fn reap(&mut self, finished: &mut VecDeque<Finished>) -> bool {
        let (mut spent, mut count) = (0u64, 0);
        let sane = loop {
            // Whoever launched the tasks has had them last.
            if let Some(Some(ahead)) = self.calls.get(4) {
                prefetch(Arc::as_ptr(ahead.job.task()));
            }
            match self.reap_first(|_, _| true) {
                First::Finished(done) => {
                    spent = spent.saturating_add(done.times.ended.saturating_sub(done.times.begun));
                    count += 1;
                    finished.push_back(done);
                }
                First::Skipped => {}
                First::Stays => break true,
                First::Nonsense => break false,
            }
        };
        if let Some(each) = spent.checked_div(count) {
            self.note_usual(each, count);
        }
        sane
    }

    /// Takes this call out if it is the first one, is done, and nothing is missing of its reply, nor
    /// of what came before: for whoever waits for it.
    pub(super) fn reap_own(&mut self, call: u64) -> Option<Finished> {
        let worker = self.worker()?;
        if self.first != call || !self.is_open() || worker.has_logs {
            return None;
        }
        let read = worker.frames_read();
        match self.reap_first(|reply, after| reply != ReplyAt::Socket && after <= read) {
            First::Finished(done) => {
                self.note_usual(done.times.ended.saturating_sub(done.times.begun), 1);
                Some(done)
            }
            // Its link finds the same.
            First::Skipped | First::Stays | First::Nonsense => None,
        }
    }

    /// Takes the first call out if it is skipped, or done with such a reply as is wanted: where it
    /// stands, and how many frames come before.
    fn reap_first(&mut self, wanted: impl Fn(ReplyAt, u64) -> bool) -> First {
        let Stage::Live(worker) = &self.stage else {
            return First::Stays;
        };
        let Some(front) = self.calls.front_mut() else {
            return First::Stays;
        };
        let (call, page) = (self.first, &worker.page);
        let out = match page.step(call) {
            // Killed for this call, which has come to its end all the same: perhaps because what
            // it had started is dead. It has been decided what it ends with.
            Some(Step::Done) if self.doomed.is_some_and(|(doomed, _)| doomed == call) => {
                return First::Stays;
            }
            Some(Step::Done) => {
                // Read once: whatever the worker writes there meanwhile.
                let (reply, after) = page.reply(call);
                if !wanted(reply, after) {
                    return First::Stays;
                }
                if let ReplyAt::Area { len, at, .. } = reply
                    && !worker.has_reply(at, len)
                {
                    return First::Nonsense;
                }
                let Some(sent) = front.take() else {
                    return First::Nonsense;
                };
                let inline = match reply {
                    ReplyAt::Slot { len, .. } => page.reply_bytes(call, len),
                    ReplyAt::Area { .. } => {
                        worker.expect_reply(call);
                        Encoded::zeroed(0)
                    }
                    ReplyAt::Socket => Encoded::zeroed(0),
                };
                self.live -= 1;
                self.live_of[sent.priority.index()] -= 1;
                let is_missing = reply == ReplyAt::Socket && !self.one_by_one;
                self.replying = is_missing.then_some(call);
                let (times, progress) = (page.times(call), page.progress(call));
                First::Finished(Finished { call, sent, times, progress, reply, inline, after })
            }
            Some(Step::Skipped) if front.is_none() => First::Skipped,
            Some(Step::Sent | Step::Begun) if front.is_some() => return First::Stays,
            Some(Step::Revoked | Step::Withdrawn) if front.is_none() => return First::Stays,
            _ => return First::Nonsense,
        };
        self.calls.pop_front();
        self.places.free(call);
        self.first += 1;
        // It moves.
        self.stalled = false;
        out
    }

    fn note_usual(&mut self, each: u64, count: u64) {
        /// About a day: a worker's own word on times is not trusted with more.
        const MOST: u64 = 1 << 47;
        let each = each.min(MOST);
        let weight = count.min(8);
        self.usual = Some(match self.usual {
            None => each,
            Some(usual) => (usual * (16 - weight) + each * weight) / 16,
        });
    }

    /// A call has been under way for so long.
    pub(super) fn note_long(&mut self, nanos: u64) {
        self.usual = Some(self.usual.unwrap_or(0).max(nanos));
    }

    /// All calls that are left after the worker's death, with what became of each. `all_read`: all
    /// that it had said.
    pub(super) fn wreck(&mut self, all_read: bool) -> Vec<(u64, Sent, bool)> {
        let mut left = Vec::new();
        for call in self.first..self.next_call() {
            let doomed = self.doomed.is_some_and(|(doomed, _)| doomed == call);
            if (doomed || !all_read)
                && self.has_set_out(call)
                && let Some(worker) = self.worker()
            {
                // Nobody will ever know whether it has begun: now it has.
                let _ = worker.page.take(call, monotonic);
            }
            let begun = self.worker().is_some_and(|worker| {
                let step = worker.page.step(call);
                !matches!(step, Some(Step::Sent | Step::Revoked | Step::Withdrawn))
            });
            let index = (call - self.first) as usize;
            if let Some(sent) = self.calls[index].take() {
                left.push((call, sent, begun));
            }
        }
        self.first = self.next_call();
        self.calls.clear();
        self.live = 0;
        self.live_of = [0; 4];
        left
    }

    /// The task that runs.
    pub(super) fn running(&self) -> Option<&Sent> {
        let worker = self.worker()?;
        let index = self.calls.iter().position(Option::is_some)?;
        let call = self.first + index as u64;
        let begun = matches!(worker.page.step(call), Some(Step::Begun | Step::Done));
        if begun { self.calls[index].as_ref() } else { None }
    }

    /// Calls that were sent and have not begun, of each priority.
    pub(super) fn count_unbegun(&self, counts: &mut [usize; 4]) {
        let Some(worker) = self.worker() else { return };
        for (index, sent) in self.calls.iter().enumerate() {
            if let Some(sent) = sent
                && worker.page.step(self.first + index as u64) == Some(Step::Sent)
            {
                counts[sent.priority.index()] += 1;
            }
        }
    }
}

/// The encoded arguments of a job, in bytes.
pub(super) fn bytes_of(job: &Job) -> usize {
    job.task().remote().map_or(0, |remote| remote.args().len())
}

/// Whether two names are equal; most often they are one and the same.
fn is_same(a: &str, b: &str) -> bool {
    std::ptr::eq(a, b) || a == b
}

/// Where a task is, as it stands in its header's mark: in the backlog by a ticket, or in a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whereabouts {
    /// Its launcher, or the timer, is still to bring it; or it is over.
    Nowhere,
    /// Somebody took it back before it came: it is not to be taken in.
    Withdrawn,
    Waiting(i64),
    Lane {
        lane: usize,
        call: u64,
    },
}

const LANES: u64 = 1 << 16;

impl Whereabouts {
    pub(super) fn of(job_mark: u64) -> Self {
        match job_mark & 0b11 {
            1 => Whereabouts::Waiting(job_mark.cast_signed() >> 2),
            2 => Whereabouts::Lane {
                lane: ((job_mark >> 2) % LANES) as usize,
                call: job_mark >> 2 >> 16,
            },
            3 => Whereabouts::Withdrawn,
            _ => Whereabouts::Nowhere,
        }
    }

    pub(super) fn note(self, task: &dyn AnyTask) {
        let mark = match self {
            Whereabouts::Nowhere => 0,
            Whereabouts::Withdrawn => 3,
            Whereabouts::Waiting(ticket) => (ticket << 2).cast_unsigned() | 1,
            Whereabouts::Lane { lane, call } => (call << 16 | lane as u64) << 2 | 2,
        };
        task.header().mark.store(mark, Ordering::Relaxed);
    }
}

/// The most worker processes of one pool.
pub(super) const MAX_LANES: usize = LANES as usize;

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn whereabouts_there_and_back() {
        use crate::task::body::Once;
        let task = crate::task::cell::Cell::<(), _>::new(
            crate::task::header::Header::new(crate::TaskType::Mp),
            Once(Some(|_: &Arc<dyn crate::task::AnyTask>| ())),
            (),
        );
        let job = Job::new(task);
        for place in [
            Whereabouts::Nowhere,
            Whereabouts::Withdrawn,
            Whereabouts::Waiting(0),
            Whereabouts::Waiting(-5),
            Whereabouts::Waiting(1 << 40),
            Whereabouts::Lane { lane: 3, call: 1 << 40 },
            Whereabouts::Lane { lane: MAX_LANES - 1, call: 1 },
        ] {
            place.note(&**job.task());
            assert_eq!(Whereabouts::of(job.header().mark.load(Ordering::Relaxed)), place);
        }
    }
}
