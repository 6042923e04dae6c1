//! With `queue_bytes` and `Overflow::Block`, how much memory does the parent need for arguments
//! whose total exceeds the limit? The peak of each case is measured in a separate process.

use std::collections::VecDeque;
use std::process::Command;
use std::time::Duration;

use atasker::{Overflow, Supervisor, Task, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Watchdog};

/// Takes a while, so that launchers get ahead of the worker processes.
#[background_task(tt = "mp")]
fn length(bytes: &[u8], work: Duration) -> usize {
    std::thread::sleep(work);
    bytes.len()
}

const WORK: Duration = Duration::from_millis(30);
const WORKERS: u64 = 2;

/// The total size of the arguments; the environment can increase it.
fn size(what: &str, usual: u64) -> u64 {
    std::env::var(what).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn tasks() -> u64 {
    size("FLIGHT_TASKS", 40)
}

fn bytes_each() -> u64 {
    size("FLIGHT_MIB", 25) << 20
}

fn queue_bytes() -> u64 {
    size("FLIGHT_QUEUE_MIB", 128) << 20
}

fn supervisor() -> Supervisor {
    let config = pool_of(WORKERS as usize).queue_bytes(queue_bytes(), Overflow::Block);
    Supervisor::builder().id("flight").mp_pool(config).build()
}

/// The peak of resident memory.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() * 1024
}

fn launch(sup: &Supervisor, bytes: &[u8]) -> Task<usize> {
    length::builder(bytes, WORK).supervisor(sup).start()
}

/// The expected maximum: queued arguments, those of each worker process, and per launcher the value
/// with its encoding.
fn expected(launchers: u64) -> u64 {
    const SLACK: u64 = 96 << 20;
    queue_bytes() + (WORKERS + 2 * launchers) * bytes_each() + SLACK
}

fn check(launchers: u64) {
    let (peak, all) = (peak() >> 20, (tasks() * bytes_each()) >> 20);
    let most = expected(launchers) >> 20;
    println!("peak {peak} MiB of {all} MiB launched, at most {most} MiB expected");
    assert!(peak <= most, "{peak} MiB");
    assert!(most < all, "the limit is not below the total, so the test is inconclusive");
}

#[test]
#[ignore = "run by another test in a separate process"]
fn one_launcher() {
    let sup = supervisor();
    let bytes = vec![1; bytes_each() as usize];
    let tasks: Vec<_> = (0..tasks()).map(|_| launch(&sup, &bytes)).collect();
    for task in tasks {
        assert_eq!(task.join().unwrap(), bytes.len());
    }
    check(1);
}

#[test]
#[ignore = "run by another test in a separate process"]
fn several_launchers() {
    const LAUNCHERS: u64 = 3;
    let sup = supervisor();
    std::thread::scope(|scope| {
        for _ in 0..LAUNCHERS {
            scope.spawn(|| {
                let bytes = vec![1; bytes_each() as usize];
                let tasks: Vec<_> =
                    (0..tasks() / LAUNCHERS).map(|_| launch(&sup, &bytes)).collect();
                for task in tasks {
                    assert_eq!(task.join().unwrap(), bytes.len());
                }
            });
        }
    });
    check(LAUNCHERS);
}

/// A launch inside a task never blocks; `bounded` limits the number in flight there.
#[test]
#[ignore = "run by another test in a separate process"]
fn launching_task() {
    let sup = supervisor();
    let inside = sup.clone();
    let task = sup.spawn(move || {
        let bytes = vec![1; bytes_each() as usize];
        let launch = |_| length::builder(&bytes, WORK).supervisor(&inside);
        let in_flight = (queue_bytes() / bytes_each()) as usize;
        for (_, result) in atasker::bounded(in_flight, (0..tasks()).map(launch)) {
            assert_eq!(result.unwrap(), bytes.len());
        }
    });
    task.join().unwrap();
    check(1);
}

/// The same on an aloop: each task is awaited before the next launch.
#[test]
#[ignore = "run by another test in a separate process"]
fn launching_aloop() {
    let sup = supervisor();
    let inside = sup.clone();
    let task = sup.spawn_async(async move {
        let bytes = vec![1; bytes_each() as usize];
        let in_flight = (queue_bytes() / bytes_each()) as usize;
        let mut tasks_in_flight = VecDeque::new();
        for _ in 0..tasks() {
            if tasks_in_flight.len() == in_flight {
                let first: Task<usize> = tasks_in_flight.pop_front().unwrap();
                assert_eq!(first.await.unwrap(), bytes.len());
            }
            tasks_in_flight.push_back(launch(&inside, &bytes));
        }
        for task in tasks_in_flight {
            assert_eq!(task.await.unwrap(), bytes.len());
        }
    });
    task.join().unwrap();
    check(1);
}

#[test]
fn memory_is_bounded_by_queue_and_workers() {
    for test in ["one_launcher", "several_launchers", "launching_task", "launching_aloop"] {
        let _watchdog = Watchdog::new(test, 4 * FAR);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        let errors = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && output.contains("1 passed"), "{output}\n{errors}");
        let line = output.lines().find(|line| line.contains("peak")).unwrap_or_default();
        println!("{test}: {line}");
    }
}
