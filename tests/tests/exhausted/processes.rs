//! Does a user at the limit of threads and processes (`ulimit -u`) get errors that name the remedy,
//! and does everything work once some are available? The limit does not apply to root, so the
//! separate process switches to an otherwise unused user.

use std::time::Duration;

use atasker::{StopOptions, Supervisor, Task, TaskBuilder, TaskError, background_task};
use atasker_tests::mp::{pool_of, until_stopped};
use atasker_tests::processes::rerun;
use atasker_tests::{FAR, Watchdog, eventually};

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task]
fn on_a_thread(n: u64) -> u64 {
    3 * n
}

#[background_task]
async fn on_an_aloop(n: u64) -> u64 {
    4 * n
}

/// Limits the number of processes and threads of this user; `None` restores the initial limit.
fn limit(most: Option<u64>) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &mut limit), 0);
        limit.rlim_cur = most.unwrap_or(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &limit), 0);
    }
}

/// Switches to a user to whom the limit applies.
fn become_unprivileged() {
    // SAFETY: system calls with valid arguments.
    unsafe {
        if libc::getuid() == 0 {
            assert_eq!(libc::setuid(1_000_000 + libc::getpid().cast_unsigned()), 0);
            // The change of user has disabled the parent-death signal and `/proc/self`.
            assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1), 0);
        }
    }
}

fn end<R: Send + 'static, O: Send + 'static>(task: Task<R, (), O>) -> Result<R, TaskError> {
    if task.wait_timeout(FAR).is_err() {
        assert!(task.is_completed(), "not in {FAR:?}: {:?}", task.info());
    }
    task.join()
}

#[track_caller]
fn names_remedy(error: &TaskError) {
    let TaskError::NotStarted { detail } = error else { panic!("{error}") };
    assert!(detail.contains("ulimit -u"), "{detail}");
}

#[track_caller]
fn all_is_well(sup: &Supervisor) {
    assert_eq!(end(double::builder(5).supervisor(sup).start()).unwrap(), 10);
    assert_eq!(end(on_a_thread::builder(5).supervisor(sup).start()).unwrap(), 15);
    assert_eq!(end(on_an_aloop::builder(5).supervisor(sup).start()).unwrap(), 20);
    let delayed = TaskBuilder::new(|| 7).delay(Duration::from_millis(1)).supervisor(sup);
    assert_eq!(end(delayed.start()).unwrap(), 7);
}

/// None at all from the start, then one more each time, so that the limit is reached at every
/// possible point.
#[test]
#[ignore = "run by another test in a separate process"]
fn with_few() {
    let _watchdog = Watchdog::new("with few threads", 4 * FAR);
    become_unprivileged();
    let sup = Supervisor::builder().mp_pool(pool_of(2)).build();
    limit(Some(1));
    for _ in 0..2 {
        names_remedy(&end(double::builder(1).supervisor(&sup).start()).unwrap_err());
        names_remedy(&end(on_a_thread::builder(1).supervisor(&sup).start()).unwrap_err());
        names_remedy(&end(on_an_aloop::builder(1).supervisor(&sup).start()).unwrap_err());
    }
    limit(None);
    all_is_well(&sup);

    let (mut failed, mut worked) = (0, 0);
    for most in 2..40 {
        sup.stop(StopOptions::new());
        assert!(sup.start());
        limit(Some(most));
        let tasks: Vec<_> = (0..4).map(|n| double::builder(n).supervisor(&sup).start()).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            match end(task) {
                Ok(result) => {
                    assert_eq!(result, 2 * n as u64);
                    worked += 1;
                }
                Err(error) => {
                    names_remedy(&error);
                    failed += 1;
                }
            }
        }
        limit(None);
        all_is_well(&sup);
        if worked > 8 {
            break;
        }
    }
    assert!(failed > 0 && worked > 0, "{failed} {worked}");
}

/// Tasks without a thread or process wait as long as the pool can try again.
#[test]
#[ignore = "run by another test in a separate process"]
fn for_a_while() {
    let _watchdog = Watchdog::new("without threads for a while", 2 * FAR);
    become_unprivileged();
    let sup = Supervisor::builder().mp_pool(pool_of(3)).build();
    all_is_well(&sup);
    let first = until_stopped::builder().supervisor(&sup).start();
    let there = first.recv().unwrap();
    limit(Some(1));
    let blocked: Vec<_> =
        (0..2).map(|_| until_stopped::builder().supervisor(&sup).start()).collect();
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let task = TaskBuilder::new(move || {
                std::thread::sleep(Duration::from_millis(1));
                n
            });
            task.supervisor(&sup).start()
        })
        .collect();
    // The existing threads run all tasks.
    for (n, task) in threads.into_iter().enumerate() {
        assert_eq!(end(task).unwrap(), n);
    }
    eventually(|| sup.info().mp_pool.unwrap().waiting.total() == 2);
    limit(None);
    let mut pids: Vec<_> = blocked.iter().map(|task| task.recv().unwrap()).collect();
    pids.push(there);
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3);
    first.stop();
    blocked.iter().for_each(Task::stop);
    for task in blocked.into_iter().chain([first]) {
        assert!(pids.contains(&end(task).unwrap()));
    }
    all_is_well(&sup);
}

/// A task launches others in its worker process, which may not create threads at first.
#[background_task(tt = "mp")]
fn launches() -> Vec<Result<u64, String>> {
    limit(Some(1));
    let text = |error: TaskError| error.to_string();
    let mut all = vec![
        end(on_a_thread(1)).map_err(text),
        end(double(1)).map_err(text),
        end(on_an_aloop(1)).map_err(text),
    ];
    limit(None);
    all.extend([
        end(on_a_thread(1)).map_err(text),
        end(double(1)).map_err(text),
        end(on_an_aloop(1)).map_err(text),
    ]);
    all
}

#[test]
#[ignore = "run by another test in a separate process"]
fn in_a_worker() {
    let _watchdog = Watchdog::new("a worker without threads", 2 * FAR);
    become_unprivileged();
    let sup = Supervisor::builder().mp_pool(pool_of(1)).build();
    let all = end(launches::builder().supervisor(&sup).start()).unwrap();
    for result in &all[..3] {
        assert!(result.as_ref().unwrap_err().contains("ulimit -u"), "{all:?}");
    }
    assert_eq!(all[3..], [Ok(3), Ok(2), Ok(4)]);
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[track_caller]
fn run(test: &str) {
    let child = rerun(test).output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}\n{errors}");
}

#[test]
fn few_threads_name_remedy() {
    run("processes::with_few");
}

#[test]
fn temporary_exhaustion_delays_tasks() {
    run("processes::for_a_while");
}

#[test]
fn exhaustion_in_worker_fails_tasks() {
    run("processes::in_a_worker");
}
