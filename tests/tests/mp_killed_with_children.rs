//! Does what a task has started end with it, when it is killed, when its time is over, when its worker
//! process crashes?

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use atasker::{MpPoolConfig, Supervisor, Task, TaskContext, background_task};
use atasker_tests::processes::{Process, stop};
use atasker_tests::{FAR, Watchdog, eventually};

/// What a task starts.
const SHELLS: [&str; 4] = [
    // Two, of which one is nobody's child that waits for it.
    "echo $$; sleep 1000 & echo $!; sleep 1000",
    // Does not listen to what ends others politely.
    "trap '' TERM HUP INT; echo $$; sleep 1000",
    // Its starter ends at once.
    "(sleep 1000 & echo $!) ; echo $$; exec sleep 1000",
    // Three deep.
    "echo $$; sh -c 'echo $$; sh -c \"echo \\$\\$; sleep 1000; true\"; true'; true",
];

/// How a task goes on once it has started others.
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
            // It never ends by itself.
            child.wait().unwrap();
        }
    }
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

fn pool() -> Supervisor {
    Supervisor::builder().id("children").mp_pool(MpPoolConfig::new(1)).build()
}

/// The processes that a task has started; it has come so far when this returns.
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
fn of_a_killed_task() {
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
fn of_a_task_whose_time_is_over() {
    let _watchdog = Watchdog::new("children of tasks whose time is over", 2 * FAR);
    std::thread::scope(|scope| {
        for shell in SHELLS {
            scope.spawn(move || {
                let sup = pool();
                // Long enough for it to start them all.
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
fn of_a_task_whose_worker_crashes() {
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
fn of_a_task_whose_worker_is_stopped() {
    let _watchdog = Watchdog::new("a stopped worker with children", 2 * FAR);
    let sup = pool();
    let task = starts::builder(SHELLS[0], WAITS).supervisor(&sup).start();
    let pids = started(&task, SHELLS[0]);
    stop(task.info().worker_pid.unwrap());
    pids.iter().for_each(|pid| stop(*pid));
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    all_gone(&pids);
}

#[background_task(tt = "mp")]
fn starts_leaders(ctx: &TaskContext<(), u32>) {
    // One in a group of its own, which has started another.
    let child = Command::new("sh").args(["-c", "sleep 1000 & sleep 1000"]).process_group(0).spawn();
    ctx.send(child.unwrap().id()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// Killing the worker's group is not enough here.
#[test]
fn that_has_left_the_group() {
    let _watchdog = Watchdog::new("a child in a group of its own", 2 * FAR);
    let sup = pool();
    let task = starts_leaders::builder().supervisor(&sup).start();
    let leader = task.recv().unwrap();
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    eventually(|| Process::is_gone(leader));
}
