//! When stop, cancel, kill and worker deaths race with begin and end, thousands of times, does
//! every task end with its own result or a matching error, is no other task affected, and does
//! nothing run twice?

use std::time::Duration;

use atasker::{Supervisor, Task, TaskContext, TaskError, WorkerStdio, background_task};
use atasker_tests::mp::{pid, pool_of};
use atasker_tests::processes::{signal, stop};
use atasker_tests::scratch::{Scratch, append_line};
use atasker_tests::{FAR, Watchdog};

#[background_task(tt = "mp")]
fn echo(n: u64) -> u64 {
    n
}

/// Appends its number to a file, once for each run.
#[background_task(tt = "mp")]
fn notes(path: &str, n: u64) -> u64 {
    append_line(path, &n.to_string());
    n
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

fn numbers(file: &Scratch) -> Vec<u64> {
    file.lines().iter().map(|line| line.parse().unwrap()).collect()
}

fn with(workers: usize) -> Supervisor {
    let config = pool_of(workers).stdio(WorkerStdio::Null);
    Supervisor::builder().id("races").mp_pool(config).build()
}

fn a_moment(random: &mut Random) {
    let most = 1 << random.below(15);
    for _ in 0..random.below(most) {
        std::hint::spin_loop();
    }
}

/// The operation applied to one of many tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Nothing,
    Stop,
    Cancel(bool),
    Kill,
    Limit,
}

#[test]
fn operations_and_limits_affect_only_their_task() {
    let sup = with(2);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut results, mut canceled, mut timed_out) = (0u32, 0u32, 0u32);
    for round in 0..600u64 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let file = Scratch::new("own");
        let tasks: Vec<(u64, Task<u64>, Operation)> = (0..20)
            .map(|i| {
                let n = round * 20 + i;
                let limited = random.below(10) == 0;
                let mut task = notes::builder(file.name(), n).supervisor(&sup);
                if limited {
                    task = task.timeout(Duration::from_nanos(random.below(100_000)));
                }
                (n, task.start(), if limited { Operation::Limit } else { Operation::Nothing })
            })
            .collect();
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|(n, task, operation)| {
                if operation == Operation::Limit || random.below(2) == 0 {
                    return (n, task, operation);
                }
                a_moment(&mut random);
                let operation = match random.below(3) {
                    0 => {
                        task.stop();
                        Operation::Stop
                    }
                    1 => Operation::Cancel(task.cancel()),
                    _ => {
                        task.kill().unwrap();
                        Operation::Kill
                    }
                };
                (n, task, operation)
            })
            .collect();
        let ends: Vec<_> =
            tasks.into_iter().map(|(n, task, operation)| (n, operation, task.join())).collect();
        let ran = numbers(&file);
        for (n, operation, end) in ends {
            let runs = ran.iter().filter(|ran| **ran == n).count();
            let reported = format!("{n} {operation:?}: {end:?}, {runs} runs");
            match (&end, operation) {
                (Ok(value), _) => {
                    results += 1;
                    assert_eq!((*value, runs), (n, 1), "{reported}");
                    assert_ne!(operation, Operation::Cancel(true), "{reported}");
                }
                // Only a task that never runs: a task that ignores the stop returns its result.
                (Err(TaskError::Canceled), Operation::Stop | Operation::Cancel(true)) => {
                    canceled += 1;
                    assert_eq!(runs, 0, "{reported}");
                }
                (Err(TaskError::Canceled), Operation::Kill) => {
                    canceled += 1;
                    assert!(runs <= 1, "{reported}");
                }
                (Err(TaskError::TimedOut { .. }), Operation::Limit) => {
                    timed_out += 1;
                    assert!(runs <= 1, "{reported}");
                }
                _ => panic!("{reported}"),
            }
        }
    }
    println!("{results} results, {canceled} canceled, {timed_out} timed out");
    assert!(results > 0 && canceled > 0, "{results} {canceled}");
    assert_eq!(sup.info().tasks, 0);
}

/// A worker process is killed externally: the call that had begun is lost, all others run once.
#[test]
fn unbegun_calls_of_killed_worker_run_once() {
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
        let mut ran = numbers(&file);
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

/// Here it is certain which calls had begun.
#[test]
fn begun_call_of_killed_worker_is_lost() {
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

/// The worker process was stopped before, which guarantees that no call has begun.
#[test]
fn unbegun_calls_of_stopped_worker_survive_kill() {
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
        assert_eq!(numbers(&file), (0..10).collect::<Vec<_>>());
    }
}

/// A call that was sent over a socket counts as begun. So a kill in time, which is most of them, ends
/// the worker process there, and the start of another one takes some milliseconds.
const LATE_KILLS: u64 = if cfg!(atasker_portable) { 500 } else { 3000 };

/// A kill arrives as the task ends, while other tasks use the same worker process.
#[test]
fn late_kill_affects_no_other_task() {
    let sup = with(1);
    let mut random = Random(0xdead_beef_cafe_f00d);
    let mut killed = 0u32;
    for round in 0..LATE_KILLS {
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
    println!("{killed} of {LATE_KILLS} were killed in time");
}
