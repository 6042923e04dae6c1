//! Do the processes that a task started end with it when it is killed, when it exceeds its time
//! limit, and when its worker process crashes?

#[cfg(not(atasker_portable))]
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use atasker::{Supervisor, Task, TaskContext, background_task};
use atasker_tests::mp::{pid, pool_of};
use atasker_tests::processes::{Process, stop};
use atasker_tests::{FAR, Watchdog, eventually};

/// Shell scripts that a task runs.
const SHELLS: [&str; 4] = [
    // Two processes, one of which is orphaned.
    "echo $$; sleep 1000 & echo $!; sleep 1000",
    // Ignores the usual termination signals.
    "trap '' TERM HUP INT; echo $$; sleep 1000",
    // The process that starts the others exits immediately.
    "(sleep 1000 & echo $!) ; echo $$; exec sleep 1000",
    // A tree of depth three.
    "echo $$; sh -c 'echo $$; sh -c \"echo \\$\\$; sleep 1000; true\"; true'; true",
];

/// What a task does after it has started other processes.
const WAITS: u32 = 0;
const ABORTS: u32 = 1;
const EXITS: u32 = 2;

#[background_task(tt = "mp")]
fn starts(ctx: &TaskContext<(), u32>, shell: &str, then: u32) {
    use std::io::BufRead;
    let mut child = Command::new("sh")
        .args(["-c", shell])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..shell.matches("echo").count() {
        ctx.send(lines.next().unwrap().unwrap().parse().unwrap()).unwrap();
    }
    match then {
        ABORTS => std::process::abort(),
        EXITS => std::process::exit(0),
        _ => {
            // Never returns.
            child.wait().unwrap();
        }
    }
}

fn pool() -> Supervisor {
    Supervisor::builder().id("children").mp_pool(pool_of(1)).build()
}

/// The processes that a task has started. All of them run when this returns.
fn started(task: &Task<(), (), u32>, shell: &str) -> Vec<u32> {
    let pids = (0..shell.matches("echo").count()).map(|_| task.recv().unwrap()).collect();
    println!("{shell:?}: {pids:?}");
    pids
}

fn all_gone(pids: &[u32]) {
    for pid in pids {
        eventually(|| Process::is_gone(*pid));
    }
}

#[test]
fn killed_task_ends_descendants() {
    for shell in SHELLS {
        let _watchdog = Watchdog::new(shell, 2 * FAR);
        let sup = pool();
        let task = starts::builder(shell, WAITS).supervisor(&sup).start();
        let pids = started(&task, shell);
        assert!(pids.iter().all(|pid| !Process::is_gone(*pid)));
        task.kill().unwrap();
        assert!(task.join().unwrap_err().is_canceled());
        all_gone(&pids);
        pid::builder().supervisor(&sup).start().join().unwrap();
    }
}

#[test]
fn timed_out_task_ends_descendants() {
    let _watchdog = Watchdog::new("children of timed-out tasks", 2 * FAR);
    std::thread::scope(|scope| {
        for shell in SHELLS {
            scope.spawn(move || {
                let sup = pool();
                // Long enough for the task to start all of them.
                let task = starts::builder(shell, WAITS).timeout(Duration::from_secs(5));
                let task = task.supervisor(&sup).start();
                let pids = started(&task, shell);
                assert!(task.join().unwrap_err().is_timeout());
                all_gone(&pids);
                pid::builder().supervisor(&sup).start().join().unwrap();
            });
        }
    });
}

#[test]
fn crashed_worker_ends_descendants() {
    for (shell, then) in SHELLS.into_iter().flat_map(|shell| [(shell, ABORTS), (shell, EXITS)]) {
        let _watchdog = Watchdog::new(shell, 2 * FAR);
        let sup = pool();
        let task = starts::builder(shell, then).supervisor(&sup).start();
        let error = task.wait().unwrap_err();
        assert!(error.is_worker_died(), "{error}");
        let pids = started(&task, shell);
        all_gone(&pids);
        pid::builder().supervisor(&sup).start().join().unwrap();
    }
}

#[test]
fn killed_stopped_worker_ends_descendants() {
    let _watchdog = Watchdog::new("a stopped worker process with children", 2 * FAR);
    let sup = pool();
    let task = starts::builder(SHELLS[0], WAITS).supervisor(&sup).start();
    let pids = started(&task, SHELLS[0]);
    stop(task.info().worker_pid.unwrap());
    pids.iter().for_each(|pid| stop(*pid));
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    all_gone(&pids);
}

#[cfg(not(atasker_portable))]
#[background_task(tt = "mp")]
fn starts_leaders(ctx: &TaskContext<(), u32>) {
    // One process in a separate group, which has started another.
    let child = Command::new("sh").args(["-c", "sleep 1000 & sleep 1000"]).process_group(0).spawn();
    ctx.send(child.unwrap().id()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// Killing the process group of the worker process is not sufficient here. Other systems can do no more.
#[cfg(not(atasker_portable))]
#[test]
fn killed_task_ends_descendants_outside_group() {
    let _watchdog = Watchdog::new("a child in a separate group", 2 * FAR);
    let sup = pool();
    let task = starts_leaders::builder().supervisor(&sup).start();
    let leader = task.recv().unwrap();
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    eventually(|| Process::is_gone(leader));
}
