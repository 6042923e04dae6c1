//! Do worker processes end, with all that they have started, however their parent ends? Killed,
//! by `exit` on another thread, `_exit` or `abort`, by turning into another program with `exec`;
//! also while a process that it has forked lives on with copies of all its descriptors.

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use atasker::{MpPoolConfig, Supervisor, TaskContext, background_task};
use atasker_tests::processes::{Process, open_descriptors, rerun};
use atasker_tests::{FAR, Watchdog, eventually};

/// How the parent ends, in its environment.
const END: &str = "END";
/// What the program after it says.
const WORD: &str = "WORD";
/// Set where it forks before.
const FORKS: &str = "FORKS";

fn ignore(signals: &[i32]) {
    for signal in signals {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// Runs a shell with `script`, which prints the numbers of what it starts: these and its own.
#[allow(clippy::zombie_processes)] // What becomes of it is the question.
fn shell(script: &str, own_session: bool) -> Vec<u32> {
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
    let mut pids = vec![child.id()];
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    pids.extend(line.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    pids
}

/// Starts others that don't care for signals, in its own session and in others, tells their numbers
/// and its own, and never ends.
#[background_task(tt = "mp")]
fn starts_others(ctx: &TaskContext<(), Vec<u32>>) {
    ignore(&[libc::SIGTERM, libc::SIGINT]);
    let deaf = "trap '' TERM HUP INT; sleep 1000 & echo $!; wait";
    let mut pids = vec![std::process::id()];
    pids.extend(shell(deaf, false));
    pids.extend(shell(deaf, true));
    // One that leaves the session of a shell that stays.
    pids.extend(shell("setsid sleep 1000 & echo $!; wait", false));
    ctx.send(pids).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// No signal tells it of its parent's end, unless it hears one.
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
    // SAFETY: a signal to this very process.
    unsafe { libc::raise(libc::SIGSTOP) };
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

/// A child that lives on with copies of all that is open here. Its number.
fn fork_one_that_stays() -> u32 {
    // SAFETY: the child calls nothing but what may be called after a fork.
    unsafe {
        match libc::fork() {
            0 => loop {
                libc::pause();
            },
            child => u32::try_from(child).unwrap(),
        }
    }
}

/// Another program, or nearly so: prints the descriptors that it was started with.
#[test]
#[ignore = "is run by other tests, in a process of its own"]
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

/// The parent of the tests below.
#[test]
#[ignore = "is run by other tests, in a process of its own"]
fn parent() {
    let _watchdog = Watchdog::new("a parent that ends", FAR);
    assert!(rerun("other_program").env(WORD, "before").status().unwrap().success());

    let config = MpPoolConfig::new(4).min_size(2);
    let sup = Supervisor::builder().id("ends").mp_pool(config).build();
    // Launched by a thread that is gone soon.
    let launched = std::thread::spawn({
        let sup = sup.clone();
        move || starts_others::builder().supervisor(&sup).start()
    });
    let busy = launched.join().unwrap();
    let mut pids = busy.recv().unwrap();
    let (end, forks) = (std::env::var(END).unwrap(), std::env::var_os(FORKS).is_some());
    // A process goes on when its program gives way to another, and then its sockets stay open where
    // there are copies: only the signal is left.
    let deaf = hears_no_signal::builder(end == "exec" && forks).supervisor(&sup).start();
    pids.push(deaf.recv().unwrap());
    let stopped = stopped_by_a_signal::builder().supervisor(&sup).start();
    pids.push(stopped.recv().unwrap());
    pids.push(pid::builder().supervisor(&sup).start().join().unwrap());
    eventually(|| Process::of(pids[pids.len() - 2]).unwrap().state == 'T');
    // All of them are there without the thread that launched the first.
    assert!(!busy.is_completed() && !deaf.is_completed());
    if forks {
        println!("\nstays {}", fork_one_that_stays());
    }
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    println!("\npids {}", pids.join(" "));
    match &*end {
        "killed" => {}
        "exit on a thread" => {
            std::thread::spawn(|| std::process::exit(0));
        }
        // SAFETY: it ends this process, and has no other preconditions.
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
    /// Worker processes, and what these have started.
    pids: Vec<u32>,
    /// The process that it has forked, which holds copies of its descriptors.
    stays: Option<u32>,
    descriptors: Vec<String>,
}

/// Ends what a failed test would leave behind.
impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        for pid in self.stays.iter().chain(&self.pids) {
            if !Process::is_gone(*pid) {
                // SAFETY: at worst a number of nobody's; none of these was given anew so soon.
                unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            }
        }
    }
}

/// A parent that ends in this way when it has told what it has started.
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
        let line = parent.lines.next().expect("the parent tells its workers").unwrap();
        match line.split_once(' ') {
            Some(("pids", pids)) => {
                parent.pids = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
            }
            Some(("stays", pid)) => parent.stays = Some(pid.parse().unwrap()),
            Some(("before", rest)) => parent.descriptors.push(rest.to_owned()),
            _ => {}
        }
    }
    assert_eq!(parent.pids.len(), 1 + 3 * 2 + 3);
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
            assert!(!Process::is_gone(pid), "the forked process has ended, too");
        }
    }
}

#[test]
fn killed() {
    for forks in [false, true] {
        let mut parent = start("killed", forks);
        assert!(parent.pids.iter().all(|pid| !Process::is_gone(*pid)));
        parent.process.kill().unwrap();
        parent.process.wait().unwrap();
        parent.leaves_nothing();
    }
}

#[test]
fn by_itself() {
    for end in ["exit on a thread", "_exit", "abort"] {
        for forks in [false, true] {
            let mut parent = start(end, forks);
            parent.process.wait().unwrap();
            parent.leaves_nothing();
        }
    }
}

/// Its place is taken by another program, which gets nothing that is ours.
#[test]
fn by_exec() {
    for forks in [false, true] {
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
