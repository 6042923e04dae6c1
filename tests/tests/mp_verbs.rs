//! What does each verb do to a task for a worker process that waits for room in the queue, is queued,
//! was sent and has not begun, runs, waits for its next attempt, or has just ended?

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, Supervisor, Task, TaskBuilder, TaskContext, TaskError, TaskStatus,
    WorkerStdio, background_task,
};
use atasker_tests::processes::{Process, signal, stop};
use atasker_tests::{FAR, Watchdog, eventually};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Stop,
    Cancel,
    Kill,
}

const VERBS: [Verb; 3] = [Verb::Stop, Verb::Cancel, Verb::Kill];

impl Verb {
    /// Whether a cancel said that it will never run.
    fn apply<R: Send + 'static, I: Send + 'static, O: Send + 'static>(
        self,
        task: &Task<R, I, O>,
    ) -> Option<bool> {
        match self {
            Verb::Stop => task.stop(),
            Verb::Cancel => return Some(task.cancel()),
            Verb::Kill => task.kill().unwrap(),
        }
        None
    }
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

#[background_task(tt = "mp")]
fn until_stopped(ctx: &TaskContext<(), u32>) -> u32 {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
    std::process::id()
}

/// Listens to nothing.
#[background_task(tt = "mp")]
fn spins(ctx: &TaskContext<(), u32>) {
    ctx.send(std::process::id()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// Leaves a line in a file for each run.
#[background_task(tt = "mp")]
fn notes(path: &str) -> u64 {
    note(path);
    1
}

/// The same, and fails.
#[background_task(tt = "mp")]
fn notes_and_fails(path: &str) {
    note(path);
    panic!("no luck");
}

fn note(path: &str) {
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    file.write_all(b"run\n").unwrap();
}

fn runs(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// A file of this test's own, gone with this.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("atasker-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Scratch(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with(config: MpPoolConfig) -> Supervisor {
    Supervisor::builder().id("verbs").mp_pool(config).build()
}

fn occupy(sup: &Supervisor) -> (Task<u32, (), u32>, u32) {
    let task = until_stopped::builder().supervisor(sup).start();
    let pid = task.recv().unwrap();
    (task, pid)
}

/// It has ended as one that never runs (again), and the pool is none the worse.
#[track_caller]
fn canceled_for_good<R: Send + 'static>(sup: &Supervisor, task: Task<R>) {
    assert!(task.is_completed());
    assert_eq!(task.status(), TaskStatus::Canceled);
    assert!(task.join().is_err_and(|error| error.is_canceled()));
    pid::builder().supervisor(sup).start().join().unwrap();
    let info = sup.info();
    assert_eq!((info.tasks, info.mp_pool.unwrap().waiting.total()), (0, 0));
}

#[test]
fn one_that_waits_for_room_in_the_queue() {
    let limits: [fn(MpPoolConfig) -> MpPoolConfig; 2] = [
        |config| config.queue_limit(1, Overflow::Block),
        |config| config.queue_bytes(4, Overflow::Block),
    ];
    for (limit, verb) in limits.into_iter().flat_map(|limit| VERBS.map(|verb| (limit, verb))) {
        let _watchdog = Watchdog::new(format!("{verb:?} while the launcher waits"), FAR);
        let file = Scratch::new("room");
        let sup = with(limit(MpPoolConfig::new(1)));
        let (busy, _) = occupy(&sup);
        let victim = notes::builder(file.name()).supervisor(&sup).start();
        let late = thread::scope(|scope| {
            let launcher =
                scope.spawn(|| notes::builder(file.name()).name("late").supervisor(&sup).start());
            eventually(|| sup.tasks().iter().any(|task| task.name == "late"));
            let found = sup.tasks().into_iter().find(|task| task.name == "late").unwrap();
            let found = sup.task(found.id).unwrap();
            match verb {
                Verb::Stop => found.stop(),
                Verb::Cancel => assert!(found.cancel()),
                Verb::Kill => found.kill().unwrap(),
            }
            assert!(found.is_completed());
            // Nor does its launcher wait any more.
            launcher.join().unwrap()
        });
        assert_eq!(victim.status(), TaskStatus::Queued);
        busy.stop();
        busy.join().unwrap();
        assert_eq!(victim.join().unwrap(), 1, "it is none of its business");
        canceled_for_good(&sup, late);
        assert_eq!(runs(&file.0), 1);
    }
}

#[test]
fn one_in_the_queue() {
    for verb in VERBS {
        let _watchdog = Watchdog::new(format!("{verb:?} of a queued one"), FAR);
        let file = Scratch::new("queued");
        let sup = with(MpPoolConfig::new(1));
        let (busy, _) = occupy(&sup);
        let task = notes::builder(file.name()).retries(3).supervisor(&sup).start();
        assert_ne!(verb.apply(&task), Some(false));
        busy.stop();
        busy.join().unwrap();
        canceled_for_good(&sup, task);
        assert_eq!(runs(&file.0), 0);
    }
}

/// A worker process that is stopped takes a call and does not begin it.
fn sent_and_unbegun<R: Send + 'static>(
    sup: &Supervisor,
    launch: impl FnOnce() -> TaskBuilder<R>,
) -> (Task<R>, u32) {
    let there = pid::builder().supervisor(sup).start().join().unwrap();
    stop(there);
    (launch().supervisor(sup).start(), there)
}

#[test]
fn one_that_was_sent_and_has_not_begun() {
    // Also one whose arguments are more than the socket takes.
    let large = "x".repeat(8 << 20);
    for (verb, name) in [Verb::Cancel, Verb::Kill].into_iter().flat_map(|v| [(v, ""), (v, &large)])
    {
        let _watchdog = Watchdog::new(format!("{verb:?} of one that was sent"), FAR);
        let file = Scratch::new("sent");
        let sup = with(MpPoolConfig::new(1));
        let (task, there) = sent_and_unbegun(&sup, || notes_also::builder(file.name(), name));
        assert_ne!(verb.apply(&task), Some(false));
        signal(there, libc::SIGCONT);
        canceled_for_good(&sup, task);
        // It was not the worker's fault.
        assert_eq!(pid::builder().supervisor(&sup).start().join().unwrap(), there);
        assert_eq!(runs(&file.0), 0);
    }
}

#[background_task(tt = "mp")]
fn notes_also(path: &str, _more: &str) {
    note(path);
}

#[test]
fn one_that_found_its_slot_does_its_work_of_stopping() {
    let _watchdog = Watchdog::new("a stop right after the launch", FAR);
    let sup = with(MpPoolConfig::new(1));
    for _ in 0..200 {
        let task = until_stopped::builder().supervisor(&sup).start();
        task.stop();
        assert!(task.join().unwrap() > 0);
    }
}

#[test]
fn one_that_runs() {
    let _watchdog = Watchdog::new("verbs on a running one", FAR);
    let sup = with(MpPoolConfig::new(1));
    for verb in [Verb::Stop, Verb::Cancel] {
        let (task, there) = occupy(&sup);
        assert_ne!(verb.apply(&task), Some(true));
        assert_eq!(task.wait().unwrap(), &there);
        assert_eq!(task.status(), TaskStatus::Completed);
    }
    let task = spins::builder().retries(5).supervisor(&sup).start();
    let there = task.recv().unwrap();
    let waits = pid::builder().supervisor(&sup).start();
    // Deaf ears.
    task.stop();
    assert!(!task.cancel());
    assert!(task.wait_timeout(Duration::from_millis(20)).is_err());
    task.kill().unwrap();
    assert!(task.wait().unwrap_err().is_canceled());
    assert_eq!((task.status(), task.info().attempt), (TaskStatus::Canceled, 1));
    assert!(Process::is_gone(there));
    assert_ne!(waits.join().unwrap(), there);
}

#[test]
fn one_that_runs_while_its_worker_is_stopped() {
    let limit = Duration::from_millis(50);
    for by_limit in [false, true] {
        let _watchdog = Watchdog::new(format!("a stopped worker, by limit: {by_limit}"), FAR);
        let sup = with(MpPoolConfig::new(1));
        let mut task = spins::builder();
        if by_limit {
            task = task.timeout(limit);
        }
        let task = task.supervisor(&sup).start();
        let there = task.recv().unwrap();
        stop(there);
        if !by_limit {
            task.kill().unwrap();
        }
        match task.wait().unwrap_err() {
            TaskError::TimedOut { limit: told, .. } if by_limit => assert_eq!(told, limit),
            TaskError::Canceled if !by_limit => {}
            other => panic!("{by_limit}: {other:?}"),
        }
        assert!(Process::is_gone(there));
        assert_ne!(pid::builder().supervisor(&sup).start().join().unwrap(), there);
    }
}

#[test]
fn one_that_waits_for_its_next_attempt() {
    for verb in VERBS {
        let _watchdog = Watchdog::new(format!("{verb:?} between two attempts"), FAR);
        let file = Scratch::new("retry");
        let sup = with(MpPoolConfig::new(1));
        let task = notes_and_fails::builder(file.name()).retries(5).retry_delay(60 * FAR);
        let task = task.supervisor(&sup).start();
        eventually(|| task.status() == TaskStatus::Delayed);
        assert_ne!(verb.apply(&task), Some(false));
        canceled_for_good(&sup, task);
        assert_eq!(runs(&file.0), 1);
    }
}

/// Whenever the verb comes, at some time there are no further runs.
#[test]
fn one_that_runs_again_and_again() {
    let file = Scratch::new("again");
    // Of all the panics nobody need read.
    let config = MpPoolConfig::new(1).stdio(WorkerStdio::Null).env("RUST_BACKTRACE", "0");
    let sup = with(config);
    for round in 0..1500u32 {
        let verb = VERBS[round as usize % 3];
        let _watchdog = Watchdog::new(format!("{verb:?} in round {round}"), FAR);
        let task = notes_and_fails::builder(file.name()).retries(u32::MAX);
        let task = task.supervisor(&sup).start();
        for _ in 0..round % 50 * 400 {
            std::hint::spin_loop();
        }
        verb.apply(&task);
        let error = task.join().unwrap_err();
        assert!(error.is_canceled() || error.is_panic(), "{error}");
        if round % 100 == 0 {
            let _ = std::fs::remove_file(&file.0);
        }
    }
    assert_eq!(sup.info().tasks, 0);
}

/// The first run fails, all others go on for ever.
#[background_task(tt = "mp")]
fn fails_then_spins(ctx: &TaskContext) {
    assert!(ctx.attempt() > 1, "no luck");
    loop {
        std::hint::spin_loop();
    }
}

/// A kill that is lost there is never heard.
#[test]
fn one_that_is_between_two_runs_at_that_very_moment() {
    let config = MpPoolConfig::new(2).stdio(WorkerStdio::Null).env("RUST_BACKTRACE", "0");
    let sup = with(config);
    for round in 0..3000u32 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let task = fails_then_spins::builder().retries(5).supervisor(&sup).start();
        // Until about the time when its first run ends.
        for _ in 0..round % 300 * 100 {
            std::hint::spin_loop();
        }
        task.kill().unwrap();
        let error = task.join().unwrap_err();
        assert!(error.is_canceled() || error.is_panic(), "{error}");
    }
    assert_eq!(sup.info().tasks, 0);
}

#[test]
fn one_that_has_ended() {
    let sup = with(MpPoolConfig::new(1));
    let task = pid::builder().supervisor(&sup).start();
    let there = *task.wait().unwrap();
    for verb in VERBS {
        assert_ne!(verb.apply(&task), Some(true));
    }
    assert_eq!(task.join().unwrap(), there);
    assert_eq!(pid::builder().supervisor(&sup).start().join().unwrap(), there, "nobody was killed");
}

#[test]
fn a_limit_counts_from_the_begin() {
    let _watchdog = Watchdog::new("limits of waiting ones", FAR);
    let sup = with(MpPoolConfig::new(1));
    // Sent and not begun for longer than its limit.
    let (task, there) =
        sent_and_unbegun(&sup, || pid::builder().timeout(Duration::from_millis(300)));
    assert!(task.wait_timeout(Duration::from_millis(600)).is_err());
    assert!(!task.is_completed());
    signal(there, libc::SIGCONT);
    task.join().unwrap();
    // However short: it ends, in one way or the other, and the pool goes on.
    for nanos in [0, 1, 1000, 100_000] {
        let task = pid::builder().timeout(Duration::from_nanos(nanos)).supervisor(&sup).start();
        assert!(task.join().err().is_none_or(|error| error.is_timeout()));
        let task = spins::builder().timeout(Duration::from_nanos(nanos)).supervisor(&sup).start();
        assert!(task.join().unwrap_err().is_timeout());
    }
    pid::builder().supervisor(&sup).start().join().unwrap();
}
