//! Does everything end when crashes and kills coincide with a stop of the supervisor, a resize, or
//! callbacks?

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use atasker::{StopOptions, Supervisor, Task, TaskError, WorkerStdio, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::processes::children;
use atasker_tests::{FAR, Watchdog, eventually};

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task(tt = "mp")]
fn aborts() {
    std::process::abort();
}

#[background_task(tt = "mp")]
fn spins() {
    loop {
        std::hint::spin_loop();
    }
}

fn with(workers: usize) -> Supervisor {
    let config = pool_of(workers).stdio(WorkerStdio::Null);
    Supervisor::builder().id("meet").mp_pool(config).build()
}

fn a_moment(round: u64) {
    for _ in 0..round % 23 * 3000 {
        std::hint::spin_loop();
    }
}

#[test]
fn crashes_during_stop() {
    for round in 0..150u64 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let sup = with(2);
        let mut fine = Vec::new();
        let mut bad = Vec::new();
        for n in 0..10 {
            fine.push(double::builder(n).supervisor(&sup).start());
            if n % 3 == 0 {
                bad.push(aborts::builder().supervisor(&sup).start());
            }
        }
        a_moment(round);
        let options = match round % 3 {
            0 => StopOptions::new(),
            1 => StopOptions::new().wait(Duration::ZERO),
            _ => StopOptions::new().cancel_tasks(true),
        };
        sup.stop(options);
        for (n, task) in fine.into_iter().enumerate() {
            assert!(task.is_completed());
            match task.join() {
                Ok(value) => assert_eq!(value, 2 * n as u64),
                Err(TaskError::SupervisorStopped) => assert_eq!(round % 3, 1),
                Err(TaskError::Canceled) => assert_eq!(round % 3, 2),
                Err(other) => panic!("{other}"),
            }
        }
        for task in bad {
            assert!(task.is_completed());
            let error = task.join().unwrap_err();
            assert!(
                error.is_worker_died()
                    || round % 3 > 0
                        && matches!(error, TaskError::SupervisorStopped | TaskError::Canceled),
                "{error}"
            );
        }
        assert!(sup.info().mp_pool.unwrap().workers.is_empty());
    }
}

#[test]
fn kills_during_stop() {
    for round in 0..100u64 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let sup = with(2);
        let tasks: Vec<_> = (0..4).map(|_| spins::builder().supervisor(&sup).start()).collect();
        std::thread::scope(|scope| {
            let stopper =
                scope.spawn(|| sup.stop(StopOptions::new().wait(Duration::from_millis(1))));
            a_moment(round);
            for task in &tasks {
                task.kill().unwrap();
            }
            stopper.join().unwrap();
        });
        for task in tasks {
            let error = task.join().unwrap_err();
            assert!(matches!(error, TaskError::SupervisorStopped | TaskError::Canceled), "{error}");
        }
    }
}

#[test]
fn crashes_during_drop_of_last_handle() {
    let _watchdog = Watchdog::new("drops", 2 * FAR);
    let mut all = Vec::new();
    for _ in 0..30 {
        let sup = with(2);
        let bad: Vec<_> = (0..3).map(|_| aborts::builder().supervisor(&sup).start()).collect();
        let fine: Vec<_> = (0..5).map(|n| double::builder(n).supervisor(&sup).start()).collect();
        drop(sup);
        all.push((bad, fine));
    }
    for (bad, fine) in all {
        assert!(bad.into_iter().all(|task| task.join().unwrap_err().is_worker_died()));
        for (n, task) in fine.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), 2 * n as u64);
        }
    }
}

#[test]
fn crashes_during_resizes() {
    let _watchdog = Watchdog::new("resizes", 2 * FAR);
    let sup = with(2);
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for first in 0..3u64 {
            let (sup, done) = (&sup, &done);
            scope.spawn(move || {
                for n in (first * 400..).take(400) {
                    let bad = (n % 40 == 0).then(|| aborts::builder().supervisor(sup).start());
                    assert_eq!(double::builder(n).supervisor(sup).start().join().unwrap(), 2 * n);
                    assert!(bad.is_none_or(|bad| bad.join().unwrap_err().is_worker_died()));
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut n = 0;
        while done.load(Ordering::SeqCst) < 3 {
            n += 1;
            let config = pool_of(n % 4).min_size(n % 3).stdio(WorkerStdio::Null);
            let config = config.max_tasks_per_worker(n as u64 % 5 * 10);
            sup.set_mp_pool(config.idle_timeout(Duration::from_millis(n as u64 % 7)));
            std::thread::yield_now();
        }
    });
    sup.set_mp_pool(pool_of(1).idle_timeout(Duration::ZERO));
    eventually(|| sup.info().mp_pool.unwrap().workers.is_empty());
    assert_eq!(sup.info().tasks, 0);
}

#[test]
fn crashed_tasks_run_callbacks() {
    let _watchdog = Watchdog::new("callbacks", FAR);
    let sup = with(1);
    let (sender, reported) = mpsc::channel();
    let tasks: Vec<Task<()>> = (0..20)
        .map(|n| {
            let (sup, sender) = (sup.clone(), sender.clone());
            aborts::builder()
                .supervisor(&sup.clone())
                .on_complete(move |outcome| {
                    assert!(outcome.as_ref().is_err_and(TaskError::is_worker_died));
                    // A callback may use the pool that has just lost a worker process, and wait for
                    // it.
                    let next = double::builder(n).supervisor(&sup).start().join().unwrap();
                    sender.send(next).unwrap();
                    assert!(n % 2 == 0, "expected panic in a callback");
                })
                .start()
        })
        .collect();
    for task in tasks {
        assert!(task.join().unwrap_err().is_worker_died());
    }
    drop(sender);
    let mut all: Vec<u64> = reported.iter().collect();
    all.sort_unstable();
    assert_eq!(all, (0..20).map(|n| 2 * n).collect::<Vec<_>>());
}

#[test]
fn callbacks_kill_other_tasks() {
    let _watchdog = Watchdog::new("callbacks that kill", FAR);
    let sup = with(2);
    for _ in 0..20 {
        let victim = Arc::new(spins::builder().supervisor(&sup).start());
        let kills = Arc::clone(&victim);
        let task = double::builder(1).supervisor(&sup);
        let task = task.on_complete(move |_| kills.kill().unwrap()).start();
        assert_eq!(task.join().unwrap(), 2);
        assert!(victim.wait().unwrap_err().is_canceled());
    }
}

/// A short version of what a service does for months.
#[test]
fn repeated_supervisors_leave_no_processes() {
    let _watchdog = Watchdog::new("many supervisors", 2 * FAR);
    for n in 0..40 {
        let sup = with(1);
        let task = double::builder(n).supervisor(&sup).start();
        if n % 2 == 0 {
            assert_eq!(task.join().unwrap(), 2 * n);
        }
        if n % 3 == 0 {
            sup.stop(StopOptions::new());
        }
    }
    // Other tests of this file have worker processes too; none of the dead ones remains.
    eventually(|| children().iter().all(|child| child.state != 'Z'));
}
