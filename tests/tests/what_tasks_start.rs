//! Does what a task has started end with its worker process, also where it has left the worker's group
//! or session? By `kill`, by a time limit, by a stop, or because the worker was idle for long.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use atasker::{MpPoolConfig, StopOptions, Supervisor, Task, TaskContext, background_task};
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Watchdog, eventually};

/// A shell in a session of its own, with a child, neither of which cares for signals; and a shell in
/// the worker's group whose child has a session of its own.
#[allow(clippy::zombie_processes)] // What becomes of them is the question.
fn start_others() -> Vec<u32> {
    let deaf = "trap '' TERM HUP INT; sleep 1000 & echo $!; wait";
    let mut pids = Vec::new();
    for (script, own_session) in [(deaf, true), ("setsid sleep 1000 & echo $!; wait", false)] {
        let mut command = Command::new("sh");
        if own_session {
            // SAFETY: `setsid` may be called between fork and exec.
            unsafe {
                command.pre_exec(|| {
                    libc::setsid();
                    Ok(())
                });
            }
        }
        let mut child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        pids.extend([child.id(), line.trim().parse().unwrap()]);
    }
    pids
}

#[background_task(tt = "mp")]
fn starts_others(ctx: &TaskContext<(), Vec<u32>>, stays: bool) {
    // On a thread that ends: the children are its process's, then.
    let pids = std::thread::spawn(start_others).join().unwrap();
    ctx.send([pids, start_others()].concat()).unwrap();
    if stays {
        loop {
            std::hint::spin_loop();
        }
    }
}

fn supervisor(config: MpPoolConfig) -> Supervisor {
    Supervisor::builder().id("starts").mp_pool(config).build()
}

fn start(sup: &Supervisor, stays: bool) -> (Task<(), (), Vec<u32>>, Vec<u32>) {
    let task = starts_others::builder(stays).supervisor(sup).start();
    let pids = task.recv().unwrap();
    assert_eq!(pids.len(), 8);
    (task, pids)
}

#[track_caller]
fn all_go(pids: &[u32]) {
    for pid in pids {
        eventually(|| Process::is_gone(*pid));
    }
}

#[test]
fn by_kill() {
    let _watchdog = Watchdog::new("what a killed task has started", 2 * FAR);
    let sup = supervisor(MpPoolConfig::new(2));
    let (other, others) = start(&sup, true);
    let (task, pids) = start(&sup, true);
    assert!(pids.iter().all(|pid| !Process::is_gone(*pid)));
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    all_go(&pids);
    // And nobody else.
    assert!(!other.is_completed() && others.iter().all(|pid| !Process::is_gone(*pid)));
    other.kill().unwrap();
    all_go(&others);
}

#[test]
fn by_a_time_limit() {
    let _watchdog = Watchdog::new("what a task with a limit has started", 2 * FAR);
    let sup = supervisor(MpPoolConfig::new(1));
    let task =
        starts_others::builder(true).timeout(Duration::from_secs(6)).supervisor(&sup).start();
    let pids = task.recv().unwrap();
    assert!(task.join().unwrap_err().is_timeout());
    all_go(&pids);
}

#[test]
fn by_a_stop() {
    let _watchdog = Watchdog::new("what stopped workers have started", 2 * FAR);
    let sup = supervisor(MpPoolConfig::new(2));
    let (idle, mut pids) = start(&sup, false);
    idle.join().unwrap();
    let (busy, others) = start(&sup, true);
    pids.extend(others);
    sup.stop(StopOptions::new().wait(Duration::from_millis(1)));
    assert!(busy.join().is_err());
    all_go(&pids);
}

#[test]
fn when_it_was_idle_for_long() {
    let _watchdog = Watchdog::new("what an idle worker has started", 2 * FAR);
    let sup = supervisor(MpPoolConfig::new(1).idle_timeout(Duration::from_millis(1)));
    let (task, pids) = start(&sup, false);
    task.join().unwrap();
    all_go(&pids);
    let info = sup.info().mp_pool.unwrap();
    assert_eq!((info.restarts, info.tasks_run), (0, 1));
}
