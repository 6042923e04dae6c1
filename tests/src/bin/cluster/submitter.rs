//! A submitter: launches calls, does things to them, and writes down what becomes of them.
//!
//! Lines of its file, in which `call` is a number that no other call of the run has:
//!
//! * `L call id kind retries redeliver expires key delayed`: launched.
//! * `F call`: calls with this number and smaller ones were launched, and are stored.
//! * `V call verb by since until answer`: stopped, canceled or killed.
//! * `C call outcome`: a callback was called.
//! * `O call outcome attempt losses time`: the handle has the outcome.
//! * `T call run time text`: the last messages of a run have not come.
//! * `S call outcome`: a second handle, of another member, has it.
//! * `P call text`: something is wrong.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use atasker::{
    Cluster, ClusterError, KillError, Outcome, Supervisor, Task, TaskBuilder, TaskError, TaskId,
    TaskRef,
};
use atasker_tests::random::Random;

use crate::calls::{self, AnyCall, Expected};
use crate::connect;
use crate::log::{self, Log};
use crate::options::Role;

/// How long calls may take to end once no more failures are made.
pub const PATIENCE: Duration = Duration::from_secs(75);

/// Threads that do things to calls, which may block for seconds.
const HELPERS: usize = 16;

/// Something to be done by a helper.
type Errand = Box<dyn FnOnce(&Scene) + Send>;

/// What the threads of a submitter share.
pub struct Scene {
    me: Weak<Scene>,
    log: Arc<Log>,
    sup: Supervisor,
    /// Another member of the cluster.
    other: Cluster,
    errands: Mutex<Sender<Errand>>,
    next: AtomicU64,
    /// Second handles that wait.
    waiting: AtomicU64,
    /// Calls are to take milliseconds.
    pub brief: bool,
    is_over: AtomicBool,
}

/// What was asked for, of one call.
#[derive(Default)]
pub struct Wish {
    stop: AtomicBool,
    end: AtomicBool,
}

/// A call that has not ended as far as its submitter knows.
pub struct Pending<R: Send + 'static, I: Send + 'static = (), O: Send + 'static = ()> {
    call: u64,
    task: Task<R, I, O>,
    expected: Expected<R>,
    wish: Arc<Wish>,
    launched: Instant,
}

pub fn main(role: &Role) {
    let name = &role.name;
    let clusters = [connect::connect(role, 1), connect::connect(role, 2)];
    let [cluster, other] = clusters;
    let sup = Supervisor::builder().id(name).build();
    sup.join_cluster(&cluster);
    let (errands, received) = channel();
    let mut random = Random::new(role.seed);
    let scene = Arc::new_cyclic(|me| Scene {
        me: me.clone(),
        log: Arc::new(Log::open(role.folder.join(log::calls(name)))),
        sup,
        other,
        errands: Mutex::new(errands),
        // The upper half of the number of a call is that of its submitter.
        next: AtomicU64::new(role.seed << 32),
        waiting: AtomicU64::new(0),
        brief: role.brief,
        is_over: AtomicBool::new(false),
    });
    let received = Arc::new(Mutex::new(received));
    let helpers: Vec<_> = (0..HELPERS)
        .map(|_| {
            let (scene, received) = (Arc::clone(&scene), Arc::clone(&received));
            std::thread::spawn(move || help(&scene, &received))
        })
        .collect();
    std::thread::spawn({
        let scene = Arc::clone(&scene);
        move || {
            // The parent closes it when it is enough.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            scene.is_over.store(true, Ordering::SeqCst);
        }
    });
    std::thread::spawn({
        let scene = Arc::clone(&scene);
        move || {
            loop {
                let last = scene.next.load(Ordering::SeqCst);
                // Those before it are launched, but perhaps for the last one.
                if cluster.flush(Duration::from_secs(5)).is_ok() {
                    scene.log.line(&format!("F {}", last.saturating_sub(2)));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    submit(&scene, &mut random, role.in_flight);
    // The helpers end with the last errand.
    let (none, _) = channel();
    *scene.errands.lock().unwrap() = none;
    let until = Instant::now() + PATIENCE;
    let is_waiting = || scene.waiting.load(Ordering::SeqCst) > 0;
    while is_waiting() || !helpers.iter().all(|helper| helper.is_finished()) {
        if Instant::now() > until {
            let count = scene.waiting.load(Ordering::SeqCst);
            let text = "a stop, cancel, kill or wait does not return";
            scene.problem(0, &format!("{text}; {count} second handles wait"));
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.log.line("W done");
}

fn help(scene: &Scene, errands: &Mutex<Receiver<Errand>>) {
    loop {
        let errand = errands.lock().unwrap().recv();
        let Ok(errand) = errand else { return };
        errand(scene);
    }
}

fn submit(scene: &Scene, random: &mut Random, in_flight: usize) {
    let mut pending: Vec<Box<dyn AnyCall>> = Vec::new();
    let mut until = None;
    loop {
        if scene.is_over.load(Ordering::SeqCst) {
            let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
            if pending.is_empty() {
                return;
            }
            if Instant::now() > until {
                return pending.iter().for_each(|call| call.give_up(scene));
            }
        } else {
            while pending.len() < in_flight {
                pending.extend(calls::launch(scene, random));
            }
        }
        let mut i = 0;
        while i < pending.len() {
            if pending[i].goes_on(scene) {
                pending.swap_remove(i).finish(scene);
            } else {
                i += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Scene {
    pub fn next_call(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn problem(&self, call: u64, text: &str) {
        self.log.line(&format!("P {call} {text}"));
    }

    /// The last replies of a run have not come.
    pub fn missing(&self, call: u64, run: u32, come: usize, of: usize) {
        let now = log::now();
        self.log.line(&format!("T {call} {run} {now} {come} of {of} replies have come"));
    }

    fn errand(&self, errand: impl FnOnce(&Scene) + Send + 'static) {
        let _ = self.errands.lock().unwrap().send(Box::new(errand));
    }

    /// Launches a call, to which things may be done.
    pub fn start<R, I, O>(
        &self,
        call: u64,
        builder: TaskBuilder<R, I, O>,
        expected: Expected<R>,
        random: &mut Random,
    ) -> Box<dyn AnyCall>
    where
        R: serde::Serialize + serde::de::DeserializeOwned + Hash + Send + Sync + 'static,
        I: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
        O: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
    {
        let pending = self.start_quietly(call, builder, expected, random);
        if random.below(8) == 0 {
            self.attach(&pending, random);
        }
        Box::new(pending)
    }

    /// Launches a call whose messages stay with its first handle.
    pub fn start_quietly<R: Hash + Send + Sync + 'static, I: Send + 'static, O: Send + 'static>(
        &self,
        call: u64,
        builder: TaskBuilder<R, I, O>,
        expected: Expected<R>,
        random: &mut Random,
    ) -> Pending<R, I, O> {
        let task = self.prepare(call, builder).start();
        self.launched(call, task, expected, random)
    }

    pub fn start_unique<R: Hash + Send + Sync + 'static, I: Send + 'static, O: Send + 'static>(
        &self,
        call: u64,
        builder: TaskBuilder<R, I, O>,
        expected: Expected<R>,
        random: &mut Random,
    ) -> Option<Box<dyn AnyCall>> {
        // Blocks for up to 5 s while the broker is away.
        match self.prepare(call, builder).start_unique() {
            Ok(task) => Some(Box::new(self.launched(call, task, expected, random))),
            Err(holder) => {
                self.log.line(&format!("H {call} {}", holder.id()));
                None
            }
        }
    }

    fn prepare<R: Hash + Send + 'static, I: Send + 'static, O: Send + 'static>(
        &self,
        call: u64,
        builder: TaskBuilder<R, I, O>,
    ) -> TaskBuilder<R, I, O> {
        let log = Arc::clone(&self.log);
        builder.supervisor(&self.sup).on_complete(move |outcome| {
            log.line(&format!("C {call} {}", outcome_of(outcome.as_ref().map(|_| ()))));
        })
    }

    fn launched<R: Hash + Send + Sync + 'static, I: Send + 'static, O: Send + 'static>(
        &self,
        call: u64,
        task: Task<R, I, O>,
        expected: Expected<R>,
        random: &mut Random,
    ) -> Pending<R, I, O> {
        let Expected { kind, retries, redeliver, expires, key, delayed, .. } = &expected;
        let delayed = *delayed;
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
        let (expires, key) = (number(expires.map(|d| d.as_millis() as u64)), number(*key));
        let id = task.id();
        let delayed = if delayed { "delayed" } else { "-" };
        self.log
            .line(&format!("L {call} {id} {kind} {retries} {redeliver} {expires} {key} {delayed}"));
        let pending =
            Pending { call, task, expected, wish: Arc::default(), launched: Instant::now() };
        if random.below(5) == 0 {
            self.interfere(&pending, random);
        }
        pending
    }

    /// Does something to a call, soon.
    fn interfere<R: Hash + Send + Sync + 'static, I: Send + 'static, O: Send + 'static>(
        &self,
        pending: &Pending<R, I, O>,
        random: &mut Random,
    ) {
        let (call, wish) = (pending.call, Arc::clone(&pending.wish));
        let (verb, by) = (random.below(5), random.below(2));
        let most = if self.brief { 20 } else { random.pick(&[2, 50, 1_500]) };
        let pause = Duration::from_millis(random.below(most));
        let (id, task) = (pending.task.id(), pending.task.to_ref());
        self.errand(move |scene| {
            std::thread::sleep(pause);
            scene.carry_out(call, id, &task, &wish, verb, by == 0);
        });
    }

    fn carry_out(
        &self,
        call: u64,
        id: TaskId,
        task: &TaskRef,
        wish: &Wish,
        verb: u64,
        elsewhere: bool,
    ) {
        // A call that is not stored is not known to others.
        let found = if elsewhere { self.other.find(id).ok().flatten() } else { None };
        let by = if found.is_some() { "other" } else { "launcher" };
        wish.stop.store(true, Ordering::SeqCst);
        wish.end.store(verb > 0, Ordering::SeqCst);
        let since = log::now();
        let (verb, answer) = match (verb, found) {
            (0, found) => {
                match found {
                    Some(found) => found.stop(),
                    None => task.stop(),
                }
                ("stop", "asked")
            }
            (1 | 2, Some(found)) => ("cancel", found.cancel().to_text()),
            (1 | 2, None) => ("cancel", task.cancel().to_text()),
            (_, Some(found)) => ("kill", found.kill().to_text()),
            (_, None) => ("kill", task.kill().to_text()),
        };
        self.log.line(&format!("V {call} {verb} {by} {since} {} {answer}", log::now()));
    }

    /// Lets another member wait for a call as well.
    fn attach<R, I, O>(&self, pending: &Pending<R, I, O>, random: &mut Random)
    where
        R: serde::Serialize + serde::de::DeserializeOwned + Hash + Send + Sync + 'static,
        I: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
        O: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
    {
        let (call, id) = (pending.call, pending.task.id());
        let most = if self.brief { 20 } else { random.pick(&[2, 50, 1_500]) };
        let pause = Duration::from_millis(random.below(most));
        let by_find = random.below(3) == 0;
        self.errand(move |scene| {
            std::thread::sleep(pause);
            if by_find {
                // Only whether it has failed.
                let Ok(Some(found)) = scene.other.find(id) else { return };
                let outcome = found.wait();
                // It may end while the broker is away.
                if matches!(outcome, Err(TaskError::Cluster(ClusterError::Unreachable { .. }))) {
                    return;
                }
                return scene.log.line(&format!("S {call} {}", outcome_of(outcome)));
            }
            // Not known if it is not stored yet, and never was if it has ended before.
            let Ok(second) = scene.other.task::<Task<R, I, O>>(id) else { return };
            let scene = scene.me.upgrade().expect("it is in use");
            scene.waiting.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let outcome = full_outcome_of(second.wait());
                scene.log.line(&format!("S {call} {outcome}"));
                scene.waiting.fetch_sub(1, Ordering::SeqCst);
            });
        });
    }
}

/// The answer to a verb, as text.
trait ToText {
    fn to_text(self) -> &'static str;
}

impl ToText for bool {
    fn to_text(self) -> &'static str {
        if self { "true" } else { "false" }
    }
}

impl ToText for Result<(), KillError> {
    fn to_text(self) -> &'static str {
        match self {
            Ok(()) => "ok",
            Err(KillError::Unsupported) => "unsupported",
            Err(_) => "unreachable",
        }
    }
}

/// A hash of a result, the same in all processes.
fn hash_of(result: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    result.hash(&mut hasher);
    format!("ok {:x}", hasher.finish())
}

/// An outcome as one word, and the text of the error or a hash of the result.
fn full_outcome_of<R: Hash>(outcome: Result<&R, impl std::borrow::Borrow<TaskError>>) -> String {
    match outcome {
        Ok(result) => hash_of(result),
        Err(error) => outcome_of(Err(error)),
    }
}

/// An outcome as one word, and the text of the error.
pub fn outcome_of(outcome: Result<(), impl std::borrow::Borrow<TaskError>>) -> String {
    let Err(error) = outcome else { return "ok".to_owned() };
    let error = error.borrow();
    let word = match error {
        TaskError::Panicked { .. } => "panicked",
        TaskError::Canceled => "canceled",
        TaskError::TimedOut { .. } => "timed-out",
        TaskError::WorkerDied(_) => "died",
        TaskError::QueueFull => "full",
        TaskError::Expired { .. } => "expired",
        TaskError::Duplicate { .. } => "duplicate",
        TaskError::NodeLost { .. } => "lost",
        TaskError::Cluster(_) => "cluster",
        _ => "other",
    };
    format!("{word} {}", error.to_string().replace('\n', " "))
}

impl<R: Hash + Send + Sync + 'static, I: Send + 'static, O: Send + 'static> Pending<R, I, O> {
    pub fn call(&self) -> u64 {
        self.call
    }

    pub fn task(&self) -> &Task<R, I, O> {
        &self.task
    }

    pub fn has_not_ended(&self, scene: &Scene) {
        let (kind, after) = (self.expected.kind, self.launched.elapsed());
        let info = self.task.info();
        let text =
            format!("({kind}, {}) has not ended after {after:.1?}: {info:?}", self.task.id());
        scene.problem(self.call, &text);
    }

    /// Writes down and checks the outcome.
    pub fn end(&self, scene: &Scene) {
        let info = self.task.info();
        let outcome = self.task.wait();
        let text = full_outcome_of(outcome.clone());
        let (call, attempt, losses) = (self.call, info.attempt, info.losses);
        // The text of the error is last, because it has blanks.
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let is_err = info.outcome == Some(Outcome::ReturnedErr);
        let word = if is_err { "err" } else { word };
        let now = log::now();
        scene.log.line(&format!("O {call} {word} {attempt} {losses} {now} {rest}"));
        if let Err(wrong) = self.check(outcome, is_err, attempt, losses) {
            let kind = self.expected.kind;
            scene.problem(call, &format!("({kind}, {}): {wrong}", self.task.id()));
        }
    }

    fn check(
        &self,
        outcome: Result<&R, TaskError>,
        is_err: bool,
        attempt: u32,
        losses: u32,
    ) -> Result<(), String> {
        let expected = &self.expected;
        let stopped = self.wish.stop.load(Ordering::SeqCst);
        let used_up = attempt.saturating_sub(losses) == expected.retries + 1;
        let error = match outcome {
            Ok(_) if is_err && !used_up && !stopped => {
                return Err(format!("an `Err` ({attempt} runs, {losses} losses)"));
            }
            Ok(result) => return (expected.result)(result, stopped),
            Err(error) => error,
        };
        let good = match &error {
            TaskError::Canceled => stopped,
            TaskError::NodeLost { losses, .. } => *losses == expected.redeliver + 1,
            // It may have been told that a run is about to begin, which was handed back. That none
            // has begun is known from the file of the runs.
            TaskError::Expired { .. } => expected.expires.is_some(),
            TaskError::Duplicate { .. } => expected.key.is_some() && attempt == 0,
            // Calls wait here while the broker is away, up to a limit.
            TaskError::QueueFull => attempt == 0,
            error => (expected.error)(error) && (used_up || stopped),
        };
        match good {
            true => Ok(()),
            false => Err(format!("{error} ({attempt} runs, {losses} losses)")),
        }
    }
}
