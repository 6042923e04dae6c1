//! Do worker processes, with everything that they have started, end when their parent ends: killed,
//! by `exit` on another thread, `_exit` or `abort`, or by `exec` of another program; also while a
//! forked process lives on with copies of all descriptors?

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Stdio};

use atasker::{Supervisor, TaskContext, background_task};
use atasker_tests::mp::{pid, pool_of};
use atasker_tests::processes::{Process, open_descriptors, rerun, shell};
use atasker_tests::{FAR, Watchdog, eventually};

/// How the parent ends, from its environment.
const END: &str = "END";
/// The output of the program after `exec`.
const WORD: &str = "WORD";
/// Set if the parent forks before.
const FORKS: &str = "FORKS";

/// Whether the system finds processes that have left the group of a worker process, and tells a worker
/// process that its parent calls `exec`, whatever holds the sockets.
const IS_LINUX: bool = !cfg!(atasker_portable);

fn ignore(signals: &[i32]) {
    for signal in signals {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// Starts processes that ignore signals, in its own session and in others, reports their ids and
/// its own, and never ends.
#[background_task(tt = "mp")]
fn starts_others(ctx: &TaskContext<(), Vec<u32>>) {
    ignore(&[libc::SIGTERM, libc::SIGINT]);
    let ignoring = "trap '' TERM HUP INT; sleep 1000 & echo $!; wait";
    let mut pids = vec![std::process::id()];
    pids.extend(shell(ignoring, false));
    if IS_LINUX {
        pids.extend(shell(ignoring, true));
        // A process that leaves the session of a shell that stays.
        pids.extend(shell("setsid sleep 1000 & echo $!; wait", false));
    }
    ctx.send(pids).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// Ignores the signal that reports its parent's end.
#[background_task(tt = "mp")]
fn hears_no_signal(ctx: &TaskContext<(), u32>, but_one: bool) {
    ignore(&[libc::SIGTERM, libc::SIGINT]);
    if !but_one {
        ignore(&[libc::SIGHUP]);
    }
    ctx.send(std::process::id()).unwrap();
    loop {
        std::thread::park();
    }
}

#[background_task(tt = "mp")]
fn stopped_by_a_signal(ctx: &TaskContext<(), u32>) {
    ctx.send(std::process::id()).unwrap();
    // SAFETY: sends a signal to this process.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Forks a child that lives on with copies of all descriptors. Returns its id.
fn fork_one_that_stays() -> u32 {
    // SAFETY: the child calls only what may be called after a fork.
    unsafe {
        match libc::fork() {
            0 => loop {
                libc::pause();
            },
            child => u32::try_from(child).unwrap(),
        }
    }
}

/// Stands in for another program: prints the descriptors that it inherited.
#[test]
#[ignore = "run by other tests in a separate process"]
fn other_program() {
    let word = std::env::var(WORD).unwrap();
    println!();
    for (number, target) in open_descriptors() {
        println!("{word} {number} {target}");
    }
    println!("{word} listed");
    if word == "after" {
        loop {
            std::thread::park();
        }
    }
}

/// The parent process of the tests below.
#[test]
#[ignore = "run by other tests in a separate process"]
fn parent() {
    let _watchdog = Watchdog::new("a parent that ends", FAR);
    assert!(rerun("other_program").env(WORD, "before").status().unwrap().success());

    let config = pool_of(4).min_size(2);
    let sup = Supervisor::builder().id("ends").mp_pool(config).build();
    // Launched by a thread that ends soon.
    let launched = std::thread::spawn({
        let sup = sup.clone();
        move || starts_others::builder().supervisor(&sup).start()
    });
    let busy = launched.join().unwrap();
    let mut pids = busy.recv().unwrap();
    let (end, forks) = (std::env::var(END).unwrap(), std::env::var_os(FORKS).is_some());
    // A stopped process continues when its program is replaced by another, and its sockets stay
    // open where copies exist: only the signal remains.
    let ignoring = hears_no_signal::builder(end == "exec" && forks).supervisor(&sup).start();
    pids.push(ignoring.recv().unwrap());
    if IS_LINUX || end != "exec" {
        let stopped = stopped_by_a_signal::builder().supervisor(&sup).start();
        let there = stopped.recv().unwrap();
        pids.push(there);
        eventually(|| Process::of(there).unwrap().state == 'T');
    }
    pids.push(pid::builder().supervisor(&sup).start().join().unwrap());
    // All of them run without the thread that launched the first.
    assert!(!busy.is_completed() && !ignoring.is_completed());
    if forks {
        println!("\nstays {}", fork_one_that_stays());
    }
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    println!("\npids {}", pids.join(" "));
    match &*end {
        "killed" => {}
        "exit on another thread" => {
            std::thread::spawn(|| std::process::exit(0));
        }
        // SAFETY: ends this process, and has no other preconditions.
        "_exit" => unsafe { libc::_exit(0) },
        "abort" => std::process::abort(),
        "exec" => {
            panic!("{}", rerun("other_program").env(WORD, "after").exec());
        }
        other => panic!("{other}"),
    }
    loop {
        std::thread::park();
    }
}

struct Parent {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Worker processes and their descendants.
    pids: Vec<u32>,
    /// The process that the parent has forked, which holds copies of its descriptors.
    stays: Option<u32>,
    descriptors: Vec<String>,
}

/// Kills the processes that a failed test would leave behind.
impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        for pid in self.stays.iter().chain(&self.pids) {
            if !Process::is_gone(*pid) {
                // SAFETY: at worst the id of no process, because ids are not reused this soon.
                unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            }
        }
    }
}

/// Starts a parent that ends in this way after it has reported the processes it started.
fn start(end: &str, forks: bool) -> Parent {
    let mut command = rerun("parent");
    command.env(END, end).stdout(Stdio::piped()).stderr(Stdio::null());
    if forks {
        command.env(FORKS, "1");
    }
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut parent =
        Parent { process, lines, pids: Vec::new(), stays: None, descriptors: Vec::new() };
    while parent.pids.is_empty() {
        let line = parent.lines.next().expect("the parent reports its worker processes").unwrap();
        match line.split_once(' ') {
            Some(("pids", pids)) => {
                parent.pids = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
            }
            Some(("stays", pid)) => parent.stays = Some(pid.parse().unwrap()),
            Some(("before", rest)) => parent.descriptors.push(rest.to_owned()),
            _ => {}
        }
    }
    let shells = if IS_LINUX { 3 } else { 1 };
    let stopped = usize::from(IS_LINUX || end != "exec");
    assert_eq!(parent.pids.len(), 1 + shells * 2 + 2 + stopped);
    parent
}

impl Parent {
    #[track_caller]
    fn leaves_nothing(&self) {
        let _watchdog = Watchdog::new(format!("what is left of {:?}", self.pids), FAR);
        for pid in &self.pids {
            eventually(|| Process::is_gone(*pid));
        }
        if let Some(pid) = self.stays {
            assert!(!Process::is_gone(pid), "the forked process has ended as well");
        }
    }
}

#[test]
fn killed_parent_ends_workers() {
    for forks in [false, true] {
        let mut parent = start("killed", forks);
        assert!(parent.pids.iter().all(|pid| !Process::is_gone(*pid)));
        parent.process.kill().unwrap();
        parent.process.wait().unwrap();
        parent.leaves_nothing();
    }
}

#[test]
fn exiting_parent_ends_workers() {
    for end in ["exit on another thread", "_exit", "abort"] {
        for forks in [false, true] {
            let mut parent = start(end, forks);
            parent.process.wait().unwrap();
            parent.leaves_nothing();
        }
    }
}

/// The parent is replaced by another program, which inherits no descriptor of the library.
#[test]
fn exec_of_parent_ends_workers() {
    for forks in [false, true] {
        if forks && !IS_LINUX {
            continue;
        }
        let mut parent = start("exec", forks);
        let mut after = Vec::new();
        loop {
            let line = parent.lines.next().unwrap().unwrap();
            if line == "after listed" {
                break;
            }
            after.extend(line.strip_prefix("after ").map(str::to_owned));
        }
        parent.descriptors.retain(|line| line != "listed");
        assert_eq!(after, parent.descriptors);
        parent.leaves_nothing();
        assert!(!Process::is_gone(parent.process.id()), "the other program runs");
    }
}
