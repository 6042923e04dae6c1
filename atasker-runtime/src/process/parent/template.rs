//! The template of a pool: a process from which worker processes are forked, in place of the program
//! being executed again for each. See `worker::template` for the other side.
//!
//! A pool has at most one. It is started once the first worker process is ready, and ends with the
//! pool, or when the pool has had no worker process for the idle time. Only the spawner thread starts
//! it, like a worker process, because its copies get its parent. One thread receives from it, and
//! reaps it.
//!
//! ```text
//!            want                 started                  end of the process
//!   Absent ---------> Starting --------------> Live ------------------------------> Leaving
//!      ^                 | failed               | is_ending: no more requests          |
//!      |_________________|                      |  (idle, closed, other settings)      |
//!      |   back-off                                                                    |
//!      |_______________________________________________________________________________|
//! ```
//!
//! **Worker processes never depend on it.** A worker process that can't be forked, for whatever
//! reason, is started by `exec`, and with that comes the error, if there is one. Requests that a
//! template has not answered when it ends are treated the same way.
//!
//! **A copy is the program's child**, because the template forks with the program as the parent. The
//! template answers a request with a pidfd, and the program takes the copy over: it moves it into its
//! own process group, and only then sends the settings that the copy waits for. So when a template
//! ends, the copies whose pidfds have not arrived are in its process group, and are killed and reaped
//! with it.
//!
//! **What a process inherits** is that of the program at the time when the template was started:
//! users, groups, capabilities, limits, directories and environment. If the program has changed any
//! of these since, the template is replaced. The standard streams are sent with each request.

use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::with_advice;
use crate::fork;
use crate::process::config::MpPoolConfig;
use crate::process::parent::reader::START_LIMIT;
use crate::process::parent::spawn::{self, Prepared};
use crate::process::pool::ProcessPool;
use crate::process::pool::lane::Stage as LaneStage;
use crate::process::stdio::StdioPipes;
use crate::process::tracing::max_levels;
use crate::process::tracing::parent::{RemoteSpans, Sender};
use crate::process::worker::{Answer, REQUEST};
use crate::sync::lock::{Condvar, Mutex};
use crate::sys::ipc::{self, Doorbell, ReadMode, ReadOutcome};
use crate::sys::reap::{self, Output, Process};
use crate::sys::stdio;
use crate::sys::template::{CAN_FORK, Inherited};
use crate::time::backoff::backoff;
use crate::unwind::{self, guarded, log};
use crate::wire::frame::{Message, ToParent, ToWorker};
use crate::wire::framing::Frames;

/// How long a template may take to answer a request. One that is stopped by a signal does not.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The longest delay before another template after failures.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The shortest time for which a template stays without work, whatever the idle time of worker
/// processes is: otherwise it would end between two of them.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// The template of a pool, if it has one.
#[derive(Default)]
pub(crate) struct TemplatePlace {
    state: Mutex<State>,
    /// Notified when there is none any more.
    gone: Condvar,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// The pool is closed.
    is_closed: bool,
    /// The number of templates in a row that have failed.
    failures: u32,
    /// When the next one may be started after a failure.
    retry_at: Option<Instant>,
    /// The settings with which no template can be made.
    declined: Option<Arc<MpPoolConfig>>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Absent,
    Starting,
    Live(Arc<Template>),
    /// The process has ended, and what is left of it is being dropped.
    Leaving,
}

/// The pool's reference. The template ends with the pool.
#[derive(Default)]
pub(crate) struct TemplateOwner(Arc<TemplatePlace>);

impl Deref for TemplateOwner {
    type Target = Arc<TemplatePlace>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for TemplateOwner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The handle of a template.
pub(super) struct Template {
    pid: u32,
    config: Arc<MpPoolConfig>,
    inherited: Inherited,
    data: OwnedFd,
    control: OwnedFd,
    /// Wakes its thread.
    doorbell: Doorbell,
    /// Readable once the process has ended.
    end: Arc<OwnedFd>,
    is_ending: AtomicBool,
    requests: Mutex<Requests>,
    /// `None` once the process was reaped.
    process: Mutex<Option<Process>>,
}

/// The requests that were not answered, in order.
#[derive(Default)]
struct Requests {
    waiting: VecDeque<(Box<Prepared>, Instant)>,
    /// The template is ready. Before that, it would read a request as a part of its settings.
    is_ready: bool,
    /// It has ended: no more.
    is_over: bool,
}

impl TemplatePlace {
    /// Whether a template with these settings is to be started now; it is recorded as starting then.
    fn begin_start(&self, config: &Arc<MpPoolConfig>) -> bool {
        let mut state = self.state.lock();
        let is_declined = |declined: &Arc<MpPoolConfig>| is_usable(declined, config);
        let may_start = CAN_FORK
            && config.template
            && !state.is_closed
            && matches!(state.stage, Stage::Absent)
            && state.retry_at.is_none_or(|at| at <= Instant::now())
            && !state.declined.as_ref().is_some_and(is_declined);
        if may_start {
            state.stage = Stage::Starting;
        }
        may_start
    }

    /// No template could be started.
    pub(super) fn on_start_failed(&self, error: &io::Error) {
        log!(debug, "no template of worker processes could be started: {}", with_advice(error));
        let mut state = self.state.lock();
        state.record_failure();
        state.stage = Stage::Absent;
        self.gone.notify_all();
    }

    fn live(&self) -> Option<Arc<Template>> {
        match &self.state.lock().stage {
            Stage::Live(template) => Some(Arc::clone(template)),
            _ => None,
        }
    }

    /// The pool has these settings now.
    pub(crate) fn on_config(&self, config: &Arc<MpPoolConfig>) {
        if let Some(template) = self.live()
            && !(config.template && is_usable(&template.config, config))
        {
            template.request_end();
        }
    }

    pub(crate) fn open(&self) {
        self.state.lock().is_closed = false;
    }

    /// Ends the template, and permits no other one.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        if let Some(template) = self.live() {
            template.request_end();
        }
    }

    /// Blocks until there is no template any more, or this time has come.
    pub(crate) fn wait_until_gone(&self, last: Instant) {
        let mut state = self.state.lock();
        while !matches!(state.stage, Stage::Absent) {
            if self.gone.wait_until(&mut state, last).timed_out() {
                return;
            }
        }
    }
}

impl State {
    fn record_failure(&mut self) {
        self.failures += 1;
        self.retry_at = Some(Instant::now() + backoff(self.failures, MAX_BACKOFF));
    }
}

/// Whether a template with the first settings serves for the second.
fn is_usable(template: &Arc<MpPoolConfig>, config: &Arc<MpPoolConfig>) -> bool {
    Arc::ptr_eq(template, config) || template.starts_the_same(config)
}

/// A worker process is ready: has a template started, unless there is one.
pub(crate) fn want(pool: &ProcessPool, config: Arc<MpPoolConfig>) {
    // Without the pool there are no more worker processes.
    if let Some(pool) = pool.me.upgrade()
        && pool.template.begin_start(&config)
    {
        spawn::request_template(pool, config);
    }
}

/// Returns the template to fork a worker process from, if there is one. Called by the spawner thread,
/// because what a process inherits is a matter of that thread.
pub(super) fn for_request(
    pool: &Arc<ProcessPool>,
    config: &Arc<MpPoolConfig>,
) -> Option<Arc<Template>> {
    if !config.template || fork::is_copy() {
        return None;
    }
    if config.template_first && pool.template.begin_start(config) {
        start(pool, Arc::clone(config));
    }
    let template = pool.template.live()?;
    if !is_usable(&template.config, config) || template.inherited != Inherited::now() {
        template.request_end();
        return None;
    }
    let is_ready = config.template_first || template.requests.lock().is_ready;
    is_ready.then_some(template)
}

/// Starts a template, which is recorded as starting. Called by the spawner thread.
pub(super) fn start(pool: &Arc<ProcessPool>, config: Arc<MpPoolConfig>) {
    let place = Arc::clone(&pool.template);
    match unwind::catch(|| try_start(pool, config)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => place.on_start_failed(&error),
        Err(panic) => place.on_start_failed(&io::Error::other(panic.to_string())),
    }
}

fn try_start(pool: &Arc<ProcessPool>, config: Arc<MpPoolConfig>) -> io::Result<()> {
    /// The title of a worker process, which is longer, must fit into that of the template.
    const MORE: &str = "                    ";
    let inherited = Inherited::now();
    let (data, theirs) = ipc::pair()?;
    let (control, their_control) = ipc::pair()?;
    let doorbell = Doorbell::new()?;
    spawn::greet(&data, &theirs, &[&their_control])?;
    let (output, pipes) = spawn::outputs(config.stdio)?;
    let mut setup = Vec::new();
    ToWorker::Setup(spawn::common_setup(&config, max_levels())).write(&mut setup);
    let title = spawn::title("template", &pool.id) + MORE;
    let env = config.env.clone().into_iter();
    let process = reap::spawn_copy(&title, theirs, env, output)?;
    let template = Arc::new(Template {
        pid: process.id(),
        config,
        inherited,
        data,
        control,
        doorbell,
        end: Arc::clone(process.end()),
        is_ending: AtomicBool::new(false),
        requests: Mutex::default(),
        process: Mutex::new(Some(process)),
    });
    let place = Arc::clone(&pool.template);
    let runner = Runner {
        template: Arc::clone(&template),
        pool: Arc::downgrade(pool),
        setup,
        written: 0,
        frames: Frames::new(),
        spans: RemoteSpans::default(),
        pipes,
        started: Instant::now(),
        used: Instant::now(),
        has_served: false,
    };
    {
        let mut state = place.state.lock();
        template.is_ending.store(state.is_closed, Ordering::Relaxed);
        state.stage = Stage::Live(Arc::clone(&template));
    }
    // A change of the settings while it was starting has found no template to end.
    let config = Arc::clone(&pool.inner.lock().config);
    place.on_config(&config);
    let thread = std::thread::Builder::new().name("atasker template".into());
    let theirs = Arc::clone(&place);
    if let Err(error) = thread.spawn(move || run(&theirs, runner)) {
        place.state.lock().stage = Stage::Starting;
        template.kill();
        template.reap();
        return Err(error);
    }
    Ok(())
}

impl Template {
    /// Requests a worker process. It is returned if the template has ended, or does not read.
    pub(super) fn fork(&self, prepared: Box<Prepared>) -> Result<(), Box<Prepared>> {
        let mut requests = self.requests.lock();
        if requests.is_over || self.is_ending.load(Ordering::Relaxed) {
            return Err(prepared);
        }
        if requests.is_ready && send(&self.control, &prepared).is_err() {
            return Err(prepared);
        }
        requests.waiting.push_back((prepared, Instant::now()));
        if requests.waiting.len() == 1 {
            // Its thread does not wait for an answer yet.
            ipc::ring(self.doorbell.button());
        }
        Ok(())
    }

    /// Has its thread end the process.
    fn request_end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        ipc::ring(self.doorbell.button());
    }

    fn kill(&self) {
        if let Some(process) = &*self.process.lock() {
            process.kill();
        }
    }

    /// Waits for the end of the process, and of the copies that were not taken over.
    fn reap(&self) {
        reap::wait_for_end(&self.end);
        if let Some(process) = self.process.lock().take() {
            process.reap_with_group();
        }
    }
}

/// Sends a request to a template.
fn send(control: &OwnedFd, prepared: &Prepared) -> io::Result<()> {
    let data = prepared.theirs.as_fd();
    match &prepared.output {
        Output::Inherit => {
            let null = stdio::null()?;
            let [out, err] = stdio::outputs().map(|stream| stream.unwrap_or(null.as_fd()));
            ipc::try_send_fds(control, &[data, out, err], &REQUEST)
        }
        // As in the template.
        Output::Null => ipc::try_send_fds(control, &[data], &REQUEST),
        Output::To(out, err) => {
            ipc::try_send_fds(control, &[data, out.as_fd(), err.as_fd()], &REQUEST)
        }
    }
}

/// Why a template ends.
enum Over {
    /// It was requested to, or was idle.
    Ended,
    /// It can't be forked, and would not be able to if it was started again.
    Declined(String),
    Failed(String),
}

/// The thread of a template.
struct Runner {
    template: Arc<Template>,
    pool: Weak<ProcessPool>,
    /// The settings, and how much of them was written.
    setup: Vec<u8>,
    written: usize,
    frames: Frames,
    spans: RemoteSpans,
    /// What `worker_init` prints, if that is captured.
    pipes: Option<StdioPipes>,
    started: Instant,
    /// When it was last used.
    used: Instant,
    /// A process was forked, so that the failures before don't count any more.
    has_served: bool,
}

fn run(place: &TemplatePlace, mut runner: Runner) {
    let over = unwind::catch(|| runner.run());
    let over = over.unwrap_or_else(|panic| Over::Failed(panic.to_string()));
    runner.finish(place, over);
}

impl Runner {
    fn run(&mut self) -> Over {
        loop {
            if let Err(over) = self.write_setup() {
                return over;
            }
            let timeout = match self.timeout() {
                Ok(timeout) => timeout,
                Err(over) => return over,
            };
            let Template { data, control, doorbell, end, .. } = &*self.template;
            let mut readable = vec![data, control, doorbell.listener(), &**end];
            let pipes = self.pipes.as_ref().map_or([None, None], StdioPipes::pipes);
            readable.extend(pipes.into_iter().flatten());
            let writable = (self.written < self.setup.len()).then_some(control);
            let ready = ipc::wait_for_any(&readable, writable, timeout);
            let [has_data, has_answer, is_rung, has_ended, ref has_output @ ..] = ready[..] else {
                continue;
            };
            if is_rung {
                ipc::clear(&self.template.doorbell);
            }
            if has_output.contains(&true)
                && let Some(pipes) = &mut self.pipes
            {
                guarded(|| pipes.read(self.template.pid));
            }
            if has_data && let Err(over) = self.read() {
                return over;
            }
            if has_answer && let Err(over) = self.take_answer() {
                return over;
            }
            if has_ended {
                return Over::Failed("it has ended".into());
            }
        }
    }

    /// Writes what is left of the settings without blocking.
    fn write_setup(&mut self) -> Result<(), Over> {
        while self.written < self.setup.len() {
            match ipc::try_write(&self.template.control, &self.setup[self.written..]) {
                Ok(0) => return Ok(()),
                Ok(count) => self.written += count,
                Err(error) => return Err(Over::Failed(with_advice(&error))),
            }
        }
        Ok(())
    }

    /// The template is ready: sends it the requests that wait.
    fn on_ready(&mut self) -> Result<(), Over> {
        self.used = Instant::now();
        let mut requests = self.template.requests.lock();
        for (prepared, _) in &requests.waiting {
            let sent = send(&self.template.control, prepared);
            sent.map_err(|error| Over::Failed(with_advice(&error)))?;
        }
        requests.is_ready = true;
        Ok(())
    }

    /// How long to wait at most, or why the template is over.
    fn timeout(&mut self) -> Result<Option<Duration>, Over> {
        let now = Instant::now();
        let left = |since: Instant, limit: Duration, what: &str| {
            let left = limit.saturating_sub(now.saturating_duration_since(since));
            match left.is_zero() {
                true => Err(Over::Failed(format!("it was killed because it {what} in {limit:?}"))),
                false => Ok(Some(left)),
            }
        };
        let requests = self.template.requests.lock();
        // Requests that it will answer in a moment are waited for.
        let may_end = requests.waiting.is_empty() || !requests.is_ready;
        if self.template.is_ending.load(Ordering::Relaxed) && may_end {
            return Err(Over::Ended);
        }
        if !requests.is_ready {
            return left(self.started, START_LIMIT, "was not ready");
        }
        if let Some((_, requested)) = requests.waiting.front() {
            return left((*requested).max(self.used), ANSWER_LIMIT, "did not answer");
        }
        drop(requests);
        let Some(pool) = self.pool.upgrade() else { return Err(Over::Ended) };
        let inner = pool.inner.lock();
        let idle_timeout = inner.config.idle_timeout.max(MIN_IDLE);
        let idle = now.saturating_duration_since(self.used);
        if idle < idle_timeout {
            return Ok(Some(idle_timeout - idle));
        }
        if inner.lanes.iter().all(|lane| matches!(lane.stage, LaneStage::Empty)) {
            return Err(Over::Ended);
        }
        self.used = now;
        Ok(Some(idle_timeout))
    }

    /// Reads frames.
    fn read(&mut self) -> Result<(), Over> {
        match ipc::read_into(&self.template.data, self.frames.room(), ReadMode::Nonblocking) {
            Ok(ReadOutcome::Bytes(_)) => {}
            Ok(ReadOutcome::WouldBlock) => return Ok(()),
            Ok(ReadOutcome::Eof) | Err(_) => {
                return Err(Over::Failed("it has closed its socket".into()));
            }
        }
        loop {
            let malformed = |what: &str| Over::Failed(format!("it violated the protocol: {what}"));
            let is_ready = self.template.requests.lock().is_ready;
            match self.frames.next::<ToParent<'_>>() {
                Ok(None) => return Ok(()),
                Ok(Some(_)) if is_ready => return Err(malformed("a message after its start")),
                Ok(Some(ToParent::Ready { .. })) => {
                    self.on_ready()?;
                }
                Ok(Some(ToParent::StartFailed { reason })) => {
                    return Err(Over::Failed(reason.to_owned()));
                }
                Ok(Some(ToParent::Declined { reason })) => {
                    return Err(Over::Declined(reason.to_owned()));
                }
                Ok(Some(frame)) => {
                    let sender =
                        Sender { pid: self.template.pid, task_of: &|_| None, described: &|_| () };
                    let handled = self.spans.handle(&frame, &sender);
                    handled.map_err(|error| malformed(error.0))?;
                }
                Err(error) => return Err(malformed(error.0)),
            }
        }
    }

    /// Takes an answer to the first request: a process that was forked, or an error.
    fn take_answer(&mut self) -> Result<(), Over> {
        let failed = |error: io::Error| Over::Failed(with_advice(&error));
        let (answer, fds) =
            ipc::receive::<{ size_of::<Answer>() }>(&self.template.control).map_err(failed)?;
        let Some((prepared, _)) = self.template.requests.lock().waiting.pop_front() else {
            return Err(Over::Failed("it violated the protocol: an answer to no request".into()));
        };
        self.used = Instant::now();
        match (i32::from_ne_bytes(answer), fds.into_iter().next()) {
            (0, Some(pidfd)) => match Process::adopt(pidfd) {
                Ok(process) => {
                    self.has_served = true;
                    let Prepared { connection, .. } = *prepared;
                    let (pool, lane) = (Arc::clone(&connection.pool), connection.lane);
                    spawn::report(pool, lane, || connection.attach(process));
                    Ok(())
                }
                // It has ended, and other code of the program has reaped it.
                Err(error) => {
                    log!(debug, %error, "a worker process that was forked can't be used");
                    spawn::execute(prepared);
                    Ok(())
                }
            },
            (error, _) => {
                // The error comes from there, if it persists.
                spawn::execute(prepared);
                let error = io::Error::from_raw_os_error(error);
                Err(Over::Failed(format!("it can't fork: {}", with_advice(&error))))
            }
        }
    }

    /// Ends the process, and starts by `exec` what it was requested to fork.
    fn finish(mut self, place: &TemplatePlace, over: Over) {
        let template = &self.template;
        template.requests.lock().is_over = true;
        template.kill();
        reap::wait_for_end(&template.end);
        // The answers that it has given.
        loop {
            let has_answer =
                ipc::wait_for_any(&[&self.template.control], None, Some(Duration::ZERO));
            let taken = has_answer.contains(&true) && self.take_answer().is_ok();
            if !taken {
                break;
            }
        }
        let template = &self.template;
        template.reap();
        if let Some(pipes) = &mut self.pipes {
            guarded(|| pipes.finish(template.pid));
        }
        self.spans.close_all();
        let left = std::mem::take(&mut template.requests.lock().waiting);
        left.into_iter().for_each(|(prepared, _)| spawn::execute(prepared));
        let config = Arc::clone(&template.config);
        match &over {
            Over::Ended => {}
            Over::Declined(reason) => log!(
                debug,
                "worker processes are started by exec, because no template can be made of them: {reason}"
            ),
            Over::Failed(reason) => log!(
                debug,
                "worker processes are started by exec, because their template failed: {reason}"
            ),
        }
        let has_served = self.has_served;
        place.state.lock().stage = Stage::Leaving;
        // Its descriptors, before a stop of the pool returns.
        drop(self);
        let mut state = place.state.lock();
        if has_served {
            state.failures = 0;
        }
        match over {
            Over::Ended => {}
            Over::Declined(_) => state.declined = Some(config),
            Over::Failed(_) => state.record_failure(),
        }
        state.stage = Stage::Absent;
        drop(state);
        place.gone.notify_all();
    }
}
