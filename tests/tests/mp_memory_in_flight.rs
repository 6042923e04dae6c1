//! With `queue_bytes` and `Overflow::Block`, how much memory does the parent need at most for arguments
//! that are much more than that together? Measured in processes of their own: the peak of each.

use std::collections::VecDeque;
use std::process::Command;
use std::time::Duration;

use atasker::{MpPoolConfig, Overflow, Supervisor, Task, background_task};
use atasker_tests::{FAR, Watchdog};

/// Works on it for a while, so that launchers are ahead.
#[background_task(tt = "mp")]
fn length(bytes: &[u8], work: Duration) -> usize {
    std::thread::sleep(work);
    bytes.len()
}

const WORK: Duration = Duration::from_millis(30);
const WORKERS: u64 = 2;

/// How much is launched; larger by hand, from the environment.
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
    let config = MpPoolConfig::new(WORKERS as usize).queue_bytes(queue_bytes(), Overflow::Block);
    Supervisor::builder().id("flight").mp_pool(config).build()
}

/// The most that was resident at any time.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() * 1024
}

fn launch(sup: &Supervisor, bytes: &[u8]) -> Task<usize> {
    length::builder(bytes, WORK).supervisor(sup).start()
}

/// What waits, what each worker has, and what each launcher holds: the value and its encoding.
fn expected(launchers: u64) -> u64 {
    const SLACK: u64 = 96 << 20;
    queue_bytes() + (WORKERS + 2 * launchers) * bytes_each() + SLACK
}

fn check(launchers: u64) {
    let (peak, all) = (peak() >> 20, (tasks() * bytes_each()) >> 20);
    let most = expected(launchers) >> 20;
    println!("peak {peak} MiB of {all} MiB launched, at most {most} MiB expected");
    assert!(peak <= most, "{peak} MiB");
    assert!(most < all, "this shows nothing");
}

#[test]
#[ignore = "is run by another test, in a process of its own"]
fn launched_by_one() {
    let sup = supervisor();
    let bytes = vec![1; bytes_each() as usize];
    let tasks: Vec<_> = (0..tasks()).map(|_| launch(&sup, &bytes)).collect();
    for task in tasks {
        assert_eq!(task.join().unwrap(), bytes.len());
    }
    check(1);
}

#[test]
#[ignore = "is run by another test, in a process of its own"]
fn launched_by_several() {
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

/// In a task nothing blocks; what keeps the number in flight down there is `bounded`.
#[test]
#[ignore = "is run by another test, in a process of its own"]
fn launched_by_a_task() {
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

/// On an aloop likewise: it awaits the first before it launches one more.
#[test]
#[ignore = "is run by another test, in a process of its own"]
fn launched_by_an_aloop() {
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
fn it_is_what_waits_and_what_workers_have() {
    for test in
        ["launched_by_one", "launched_by_several", "launched_by_a_task", "launched_by_an_aloop"]
    {
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
