//! How do stop, cancel, kill and the time limit affect a task for a worker process that waits for
//! queue capacity, is queued, was sent and has not begun, runs, waits for a retry, or has just
//! ended?

use std::thread;
use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, Supervisor, Task, TaskBuilder, TaskContext, TaskError, TaskStatus,
    WorkerStdio, background_task,
};
use atasker_tests::mp::{occupy, pid, pool_of, spins, supervisor, until_stopped};
use atasker_tests::processes::{Process, signal, stop};
use atasker_tests::scratch::{Scratch, append_line};
use atasker_tests::{FAR, Watchdog, eventually};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Stop,
    Cancel,
    Kill,
}

const OPERATIONS: [Operation; 3] = [Operation::Stop, Operation::Cancel, Operation::Kill];

impl Operation {
    /// Returns whether a cancel reports that the task never runs.
    fn apply<R: Send + 'static, I: Send + 'static, O: Send + 'static>(
        self,
        task: &Task<R, I, O>,
    ) -> Option<bool> {
        match self {
            Operation::Stop => task.stop(),
            Operation::Cancel => return Some(task.cancel()),
            Operation::Kill => task.kill().unwrap(),
        }
        None
    }
}

/// Appends a line to a file for each run.
#[background_task(tt = "mp")]
fn notes(path: &str) -> u64 {
    append_line(path, "run");
    1
}

/// The same, and fails.
#[background_task(tt = "mp")]
fn notes_and_fails(path: &str) {
    append_line(path, "run");
    panic!("deliberate panic");
}

/// Asserts that the task ended without (another) run, and that the pool still works.
#[track_caller]
fn assert_canceled<R: Send + 'static>(sup: &Supervisor, task: Task<R>) {
    assert!(task.is_completed());
    assert_eq!(task.status(), TaskStatus::Canceled);
    assert!(task.join().is_err_and(|error| error.is_canceled()));
    pid::builder().supervisor(sup).start().join().unwrap();
    let info = sup.info();
    assert_eq!((info.tasks, info.mp_pool.unwrap().waiting.total()), (0, 0));
}

#[test]
fn task_waiting_for_queue_capacity() {
    let limits: [fn(MpPoolConfig) -> MpPoolConfig; 2] = [
        |config| config.queue_limit(1, Overflow::Block),
        |config| config.queue_bytes(4, Overflow::Block),
    ];
    for (limit, operation) in
        limits.into_iter().flat_map(|limit| OPERATIONS.map(|operation| (limit, operation)))
    {
        let _watchdog = Watchdog::new(format!("{operation:?} while the launcher waits"), FAR);
        let file = Scratch::new("room");
        let sup = supervisor(limit(pool_of(1)));
        let (busy, _) = occupy(&sup);
        let victim = notes::builder(file.name()).supervisor(&sup).start();
        let late = thread::scope(|scope| {
            let launcher =
                scope.spawn(|| notes::builder(file.name()).name("late").supervisor(&sup).start());
            eventually(|| sup.tasks().iter().any(|task| task.name == "late"));
            let found = sup.tasks().into_iter().find(|task| task.name == "late").unwrap();
            let found = sup.task(found.id).unwrap();
            match operation {
                Operation::Stop => found.stop(),
                Operation::Cancel => assert!(found.cancel()),
                Operation::Kill => found.kill().unwrap(),
            }
            assert!(found.is_completed());
            // Its launcher does not wait any more either.
            launcher.join().unwrap()
        });
        assert_eq!(victim.status(), TaskStatus::Queued);
        busy.stop();
        busy.join().unwrap();
        assert_eq!(victim.join().unwrap(), 1, "the other task is unaffected");
        assert_canceled(&sup, late);
        assert_eq!(file.lines().len(), 1);
    }
}

#[test]
fn queued_task() {
    for operation in OPERATIONS {
        let _watchdog = Watchdog::new(format!("{operation:?} of a queued one"), FAR);
        let file = Scratch::new("queued");
        let sup = supervisor(pool_of(1));
        let (busy, _) = occupy(&sup);
        let task = notes::builder(file.name()).retries(3).supervisor(&sup).start();
        assert_ne!(operation.apply(&task), Some(false));
        busy.stop();
        busy.join().unwrap();
        assert_canceled(&sup, task);
        assert_eq!(file.lines().len(), 0);
    }
}

/// A stopped worker process receives a call and does not begin it.
fn sent_and_unbegun<R: Send + 'static>(
    sup: &Supervisor,
    launch: impl FnOnce() -> TaskBuilder<R>,
) -> (Task<R>, u32) {
    let there = pid::builder().supervisor(sup).start().join().unwrap();
    stop(there);
    (launch().supervisor(sup).start(), there)
}

#[test]
#[cfg_attr(atasker_portable, ignore = "a call that was sent over a socket cannot be revoked")]
fn sent_unbegun_task() {
    // The same for a call whose arguments exceed the socket buffer.
    let large = "x".repeat(8 << 20);
    for (operation, name) in
        [Operation::Cancel, Operation::Kill].into_iter().flat_map(|v| [(v, ""), (v, &large)])
    {
        let _watchdog = Watchdog::new(format!("{operation:?} of one that was sent"), FAR);
        let file = Scratch::new("sent");
        let sup = supervisor(pool_of(1));
        let (task, there) = sent_and_unbegun(&sup, || notes_also::builder(file.name(), name));
        assert_ne!(operation.apply(&task), Some(false));
        signal(there, libc::SIGCONT);
        assert_canceled(&sup, task);
        // The worker process is not to blame.
        assert_eq!(pid::builder().supervisor(&sup).start().join().unwrap(), there);
        assert_eq!(file.lines().len(), 0);
    }
}

#[background_task(tt = "mp")]
fn notes_also(path: &str, _more: &str) {
    append_line(path, "run");
}

#[test]
fn stop_after_launch_runs_task() {
    let _watchdog = Watchdog::new("a stop right after the launch", FAR);
    let sup = supervisor(pool_of(1));
    for _ in 0..200 {
        let task = until_stopped::builder().supervisor(&sup).start();
        task.stop();
        assert!(task.join().unwrap() > 0);
    }
}

#[test]
fn running_task() {
    let _watchdog = Watchdog::new("operations on a running one", FAR);
    let sup = supervisor(pool_of(1));
    for operation in [Operation::Stop, Operation::Cancel] {
        let (task, there) = occupy(&sup);
        assert_ne!(operation.apply(&task), Some(true));
        assert_eq!(task.wait().unwrap(), &there);
        assert_eq!(task.status(), TaskStatus::Completed);
    }
    let task = spins::builder().retries(5).supervisor(&sup).start();
    let there = task.recv().unwrap();
    let waits = pid::builder().supervisor(&sup).start();
    // The task ignores stop requests.
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
fn running_task_in_stopped_worker() {
    let limit = Duration::from_millis(50);
    for by_limit in [false, true] {
        let _watchdog = Watchdog::new(format!("a stopped worker, by limit: {by_limit}"), FAR);
        let sup = supervisor(pool_of(1));
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
            TaskError::TimedOut { limit: reported, .. } if by_limit => assert_eq!(reported, limit),
            TaskError::Canceled if !by_limit => {}
            other => panic!("{by_limit}: {other:?}"),
        }
        assert!(Process::is_gone(there));
        assert_ne!(pid::builder().supervisor(&sup).start().join().unwrap(), there);
    }
}

#[test]
fn task_waiting_for_retry() {
    for operation in OPERATIONS {
        let _watchdog = Watchdog::new(format!("{operation:?} between two attempts"), FAR);
        let file = Scratch::new("retry");
        let sup = supervisor(pool_of(1));
        let task = notes_and_fails::builder(file.name()).retries(5).retry_delay(60 * FAR);
        let task = task.supervisor(&sup).start();
        eventually(|| task.status() == TaskStatus::Delayed);
        assert_ne!(operation.apply(&task), Some(false));
        assert_canceled(&sup, task);
        assert_eq!(file.lines().len(), 1);
    }
}

/// The operation comes at varying times; eventually there are no further runs.
#[test]
fn repeatedly_retried_task() {
    let file = Scratch::new("again");
    // Silences the expected panics.
    let config = pool_of(1).stdio(WorkerStdio::Null).env("RUST_BACKTRACE", "0");
    let sup = supervisor(config);
    for round in 0..1500u32 {
        let operation = OPERATIONS[round as usize % 3];
        let _watchdog = Watchdog::new(format!("{operation:?} in round {round}"), FAR);
        let task = notes_and_fails::builder(file.name()).retries(u32::MAX);
        let task = task.supervisor(&sup).start();
        for _ in 0..round % 50 * 400 {
            std::hint::spin_loop();
        }
        operation.apply(&task);
        let error = task.join().unwrap_err();
        assert!(error.is_canceled() || error.is_panic(), "{error}");
        if round % 100 == 0 {
            let _ = std::fs::remove_file(file.path());
        }
    }
    assert_eq!(sup.info().tasks, 0);
}

/// The first run fails; all others never end.
#[background_task(tt = "mp")]
fn fails_then_spins(ctx: &TaskContext) {
    assert!(ctx.attempt() > 1, "deliberate panic");
    loop {
        std::hint::spin_loop();
    }
}

/// A kill that is lost between two runs would never take effect.
#[test]
fn task_between_two_attempts() {
    let config = pool_of(2).stdio(WorkerStdio::Null).env("RUST_BACKTRACE", "0");
    let sup = supervisor(config);
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
fn ended_task() {
    let sup = supervisor(pool_of(1));
    let task = pid::builder().supervisor(&sup).start();
    let there = *task.wait().unwrap();
    for operation in OPERATIONS {
        assert_ne!(operation.apply(&task), Some(true));
    }
    assert_eq!(task.join().unwrap(), there);
    assert_eq!(
        pid::builder().supervisor(&sup).start().join().unwrap(),
        there,
        "no worker process was killed"
    );
}

#[test]
fn limit_counts_from_begin() {
    let _watchdog = Watchdog::new("limits of waiting ones", FAR);
    let sup = supervisor(pool_of(1));
    // The task is sent and does not begin for longer than its limit.
    let (task, there) =
        sent_and_unbegun(&sup, || pid::builder().timeout(Duration::from_millis(300)));
    assert!(task.wait_timeout(Duration::from_millis(600)).is_err());
    assert!(!task.is_completed());
    signal(there, libc::SIGCONT);
    task.join().unwrap();
    // With any limit, the task ends in one of two ways, and the pool still works.
    for nanos in [0, 1, 1000, 100_000] {
        let task = pid::builder().timeout(Duration::from_nanos(nanos)).supervisor(&sup).start();
        assert!(task.join().err().is_none_or(|error| error.is_timeout()));
        let task = spins::builder().timeout(Duration::from_nanos(nanos)).supervisor(&sup).start();
        assert!(task.join().unwrap_err().is_timeout());
    }
    pid::builder().supervisor(&sup).start().join().unwrap();
}
