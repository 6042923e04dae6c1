//! Verbs and deaths that race with begin and end, thousands of times: does every task end with its own
//! result or with an error that fits, does no verb hit another task, and does nothing run twice?

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use atasker::{
    MpPoolConfig, Supervisor, Task, TaskContext, TaskError, WorkerStdio, background_task,
};
use atasker_tests::processes::{signal, stop};
use atasker_tests::{FAR, Watchdog};

#[background_task(tt = "mp")]
fn echo(n: u64) -> u64 {
    n
}

/// Leaves its number in a file: once for each run.
#[background_task(tt = "mp")]
fn notes(path: &str, n: u64) -> u64 {
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{n}\n").as_bytes()).unwrap();
    n
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

#[background_task(tt = "mp")]
fn echo_bytes(n: u64, bytes: Vec<u8>) -> (u64, Vec<u8>) {
    (n, bytes)
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

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

    fn numbers(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with(workers: usize) -> Supervisor {
    let config = MpPoolConfig::new(workers).stdio(WorkerStdio::Null);
    Supervisor::builder().id("races").mp_pool(config).build()
}

fn a_moment(random: &mut Random) {
    let most = 1 << random.below(15);
    for _ in 0..random.below(most) {
        std::hint::spin_loop();
    }
}

/// What was done to one task of many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    Nothing,
    Stop,
    Cancel(bool),
    Kill,
    Limit,
}

#[test]
fn verbs_and_limits_hit_their_own_task_only() {
    let sup = with(2);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut results, mut canceled, mut timed_out) = (0u32, 0u32, 0u32);
    for round in 0..600u64 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let file = Scratch::new("own");
        let tasks: Vec<(u64, Task<u64>, Deed)> = (0..20)
            .map(|i| {
                let n = round * 20 + i;
                let limited = random.below(10) == 0;
                let mut task = notes::builder(file.name(), n).supervisor(&sup);
                if limited {
                    task = task.timeout(Duration::from_nanos(random.below(100_000)));
                }
                (n, task.start(), if limited { Deed::Limit } else { Deed::Nothing })
            })
            .collect();
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|(n, task, deed)| {
                if deed == Deed::Limit || random.below(2) == 0 {
                    return (n, task, deed);
                }
                a_moment(&mut random);
                let deed = match random.below(3) {
                    0 => {
                        task.stop();
                        Deed::Stop
                    }
                    1 => Deed::Cancel(task.cancel()),
                    _ => {
                        task.kill().unwrap();
                        Deed::Kill
                    }
                };
                (n, task, deed)
            })
            .collect();
        let ends: Vec<_> =
            tasks.into_iter().map(|(n, task, deed)| (n, deed, task.join())).collect();
        let ran = file.numbers();
        for (n, deed, end) in ends {
            let runs = ran.iter().filter(|ran| **ran == n).count();
            let told = format!("{n} {deed:?}: {end:?}, {runs} runs");
            match (&end, deed) {
                (Ok(value), _) => {
                    results += 1;
                    assert_eq!((*value, runs), (n, 1), "{told}");
                    assert_ne!(deed, Deed::Cancel(true), "{told}");
                }
                // Only one that never runs: a task that does not listen goes on to its result.
                (Err(TaskError::Canceled), Deed::Stop | Deed::Cancel(true)) => {
                    canceled += 1;
                    assert_eq!(runs, 0, "{told}");
                }
                (Err(TaskError::Canceled), Deed::Kill) => {
                    canceled += 1;
                    assert!(runs <= 1, "{told}");
                }
                (Err(TaskError::TimedOut { .. }), Deed::Limit) => {
                    timed_out += 1;
                    assert!(runs <= 1, "{told}");
                }
                _ => panic!("{told}"),
            }
        }
    }
    println!("{results} results, {canceled} canceled, {timed_out} timed out");
    assert!(results > 0 && canceled > 0, "{results} {canceled}");
    assert_eq!(sup.info().tasks, 0);
}

/// A worker that somebody else kills: the call that had begun is its loss, all others run once.
#[test]
fn what_had_not_begun_runs_elsewhere_once() {
    const CALLS: u64 = 40;
    let sup = with(2);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut died = 0u32;
    for round in 0..300u64 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let file = Scratch::new("once");
        // The pool sends ahead.
        for n in 0..20 {
            echo::builder(n).supervisor(&sup).start().join().unwrap();
        }
        let there = pid::builder().supervisor(&sup).start().join().unwrap();
        let tasks: Vec<_> =
            (0..CALLS).map(|n| notes::builder(file.name(), n).supervisor(&sup).start()).collect();
        a_moment(&mut random);
        signal(there, libc::SIGKILL);
        let mut lost = Vec::new();
        for (n, task) in tasks.into_iter().enumerate() {
            match task.join() {
                Ok(value) => assert_eq!(value, n as u64),
                Err(TaskError::WorkerDied(death)) => {
                    assert_eq!(death.pid(), there);
                    lost.push(n as u64);
                }
                Err(other) => panic!("{round}, {n}: {other}"),
            }
        }
        assert!(lost.len() <= 1, "{round}: {lost:?}");
        died += lost.len() as u32;
        let mut ran = file.numbers();
        ran.sort_unstable();
        let twice = ran.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None, "{round}: ran twice");
        let missing: Vec<u64> = (0..CALLS).filter(|n| ran.binary_search(n).is_err()).collect();
        assert!(missing.iter().all(|n| lost.contains(n)), "{round}: {missing:?} {lost:?}");
    }
    println!("{died} of 300 deaths cost a task");
}

#[background_task(tt = "mp")]
fn until_killed(ctx: &TaskContext<(), u32>) {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
}

/// Here it is sure what had begun.
#[test]
fn what_had_begun_is_lost_and_no_other() {
    let sup = with(1);
    for round in 0..50u64 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let task = until_killed::builder().supervisor(&sup).start();
        let there = task.recv().unwrap();
        let others: Vec<_> = (0..10).map(|n| echo::builder(n).supervisor(&sup).start()).collect();
        signal(there, libc::SIGKILL);
        let error = task.join().unwrap_err();
        let TaskError::WorkerDied(death) = error else { panic!("{error}") };
        assert_eq!((death.pid(), death.cause().to_string().as_str()), (there, "SIGKILL (9)"));
        for (n, task) in others.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), n as u64);
        }
    }
}

/// The one way to be sure that nothing has begun: the worker was stopped before.
#[test]
fn what_a_stopped_worker_had_not_begun_outlives_it() {
    for round in 0..20 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let file = Scratch::new("outlives");
        let sup = with(1);
        let there = pid::builder().supervisor(&sup).start().join().unwrap();
        stop(there);
        let launch = |n| notes::builder(file.name(), n).supervisor(&sup).start();
        let tasks: Vec<_> = (0..10).map(launch).collect();
        let bulk = echo_bytes::builder(1, vec![3; 3_000_000]).supervisor(&sup).start();
        signal(there, libc::SIGKILL);
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), n as u64);
        }
        assert_eq!(bulk.join().unwrap(), (1, vec![3; 3_000_000]));
        assert_eq!(file.numbers(), (0..10).collect::<Vec<_>>());
    }
}

/// A kill that comes as the task ends, and others that use the same worker at once.
#[test]
fn a_late_kill_hits_nobody_else() {
    let sup = with(1);
    let mut random = Random(0xdead_beef_cafe_f00d);
    let mut killed = 0u32;
    for round in 0..3000u64 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let first = echo::builder(round).supervisor(&sup).start();
        let second = echo::builder(!round).supervisor(&sup).start();
        a_moment(&mut random);
        let killer = first.kill();
        let third = echo::builder(round << 20).supervisor(&sup).start();
        killer.unwrap();
        assert_eq!(second.join().unwrap(), !round);
        assert_eq!(third.join().unwrap(), round << 20);
        match first.join() {
            Ok(value) => assert_eq!(value, round),
            Err(error) => {
                assert!(error.is_canceled(), "{error}");
                killed += 1;
            }
        }
    }
    println!("{killed} of 3000 were killed in time");
}
