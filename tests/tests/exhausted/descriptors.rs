//! Does a program with few or no descriptors left get errors that name the remedy, and work again
//! once descriptors are available? The limits are those of a separate process.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use atasker::{Supervisor, Task, TaskError, background_task, wait_completed};
use atasker_tests::mp::{pool_of, until_stopped};
use atasker_tests::processes::rerun;
use atasker_tests::{FAR, Watchdog, eventually};

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task(tt = "mp")]
fn crash() {
    std::process::abort();
}

fn limit_descriptors(pid: libc::pid_t, most: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit), 0);
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()), 0);
    }
}

#[test]
#[ignore = "run by another test in a separate process"]
fn with_thirty_two() {
    let _watchdog = Watchdog::new("with 32 descriptors", 2 * FAR);
    limit_descriptors(0, 32);
    const WORKERS: usize = 12;
    let sup = Supervisor::builder().mp_pool(pool_of(WORKERS)).build();
    // There are enough for some worker processes, which run all tasks.
    for _ in 0..3 {
        let tasks: Vec<Task<u64>> =
            (0..200).map(|n| double::builder(n).supervisor(&sup).start()).collect();
        let crashes: Vec<_> = (0..20).map(|_| crash::builder().supervisor(&sup).start()).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), 2 * n as u64);
        }
        for task in crashes {
            let error = task.join().unwrap_err();
            assert!(error.is_worker_died(), "{error}");
        }
    }
    // Tasks that wait for a worker process wait for an existing one.
    let tasks: Vec<_> =
        (0..WORKERS).map(|_| until_stopped::builder().supervisor(&sup).start()).collect();
    let info = || sup.info().mp_pool.unwrap();
    eventually(|| info().running > 1);
    assert!(info().running < WORKERS && tasks.iter().all(|task| !task.is_completed()));
    println!("\nstarved");
    // The limit is raised, and all tasks run concurrently.
    let mut pids: Vec<u32> = tasks.iter().map(|task| task.recv().unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), WORKERS);
    tasks.iter().for_each(Task::stop);
    wait_completed!(tasks).unwrap();
}

#[test]
fn thirty_two_descriptors_suffice_for_some_workers() {
    let mut child = rerun("descriptors::with_thirty_two").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "starved" {
            limit_descriptors(child.id().cast_signed(), 1024);
        }
        output.push_str(&line);
        output.push('\n');
    }
    assert!(child.wait().unwrap().success() && output.contains("1 passed"), "{output}");
}

#[track_caller]
fn names_remedy<R>(result: Result<R, TaskError>) {
    match result.err() {
        Some(TaskError::NotStarted { detail }) => {
            assert!(detail.contains("Too many open files"), "{detail}");
            assert!(detail.contains("ulimit -n"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "run by another test in a separate process"]
fn with_none_left() {
    let _watchdog = Watchdog::new("without descriptors", 2 * FAR);
    limit_descriptors(0, 64);
    let sup = Supervisor::builder().build();
    let mut open = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    for _ in 0..3 {
        let mp = double::builder(1).supervisor(&sup).start();
        names_remedy(sup.spawn_async(async {}).join());
        names_remedy(sup.try_create_aloop("jobs").map(drop));
        names_remedy(mp.join());
        // Threads need no descriptors.
        assert_eq!(sup.spawn(|| 7).join().unwrap(), 7);
    }
    drop(open);
    assert_eq!(sup.spawn_async(async { 8 }).join().unwrap(), 8);
    assert_eq!(double::builder(9).supervisor(&sup).start().join().unwrap(), 18);
}

#[test]
fn descriptor_exhaustion_names_remedy() {
    let child = rerun("descriptors::with_none_left").output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}\n{errors}");
}
