//! What a pool's configuration does to its worker processes, from their start to their end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, PoolConfig, StopOptions, Supervisor, Task, TaskContext, TaskError,
    TaskStatus, WorkerStdio, background_task, wait_completed, worker_data,
};
use atasker_tests::processes::{Process, descriptors};
use atasker_tests::{FAR, Watchdog, eventually};

fn supervisor(config: MpPoolConfig) -> Supervisor {
    Supervisor::builder().id("life").mp_pool(config).build()
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

#[background_task(tt = "mp")]
fn until_stopped(ctx: &TaskContext<(), u32>) -> u32 {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
    std::process::id()
}

/// Has begun when this returns: where it runs.
fn occupy(sup: &Supervisor) -> (Task<u32, (), u32>, u32) {
    let task = until_stopped::builder().supervisor(sup).start();
    let pid = task.recv().unwrap();
    (task, pid)
}

/// A file of this test's own.
fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("atasker-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn note(what: &str) {
    let path = worker_data::<PathBuf>().expect("the test gives a path");
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{what} {}\n", std::process::id()).as_bytes()).unwrap();
}

fn note_init() {
    note("init");
}

fn note_exit() {
    note("exit");
}

fn noted(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn init_and_exit_run_once_in_each_worker() {
    let path = scratch("hooks");
    let config = MpPoolConfig::new(1).worker_data(&path);
    let config = config.worker_init(note_init).worker_exit(note_exit).max_tasks_per_worker(2);
    let sup = supervisor(config);
    let pids: Vec<u32> =
        (0..5).map(|_| pid::builder().supervisor(&sup).start().join().unwrap()).collect();
    assert_eq!((pids[0], pids[2]), (pids[1], pids[3]));
    // Enough tasks for two of them; the stop ends the third.
    sup.stop(StopOptions::new());
    let mut lines = noted(&path);
    lines.sort();
    let mut expected: Vec<String> = [pids[0], pids[2], pids[4]]
        .iter()
        .flat_map(|pid| [format!("exit {pid}"), format!("init {pid}")])
        .collect();
    expected.sort();
    assert_eq!(lines, expected);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn exit_runs_when_a_worker_was_idle_for_long() {
    let path = scratch("idle");
    let config = MpPoolConfig::new(1).worker_data(&path).worker_exit(note_exit);
    let sup = supervisor(config.idle_timeout(Duration::from_millis(1)));
    let pid = pid::builder().supervisor(&sup).start().join().unwrap();
    eventually(|| sup.info().mp_pool.unwrap().workers.is_empty());
    assert_eq!(noted(&path), [format!("exit {pid}")]);
    std::fs::remove_file(path).unwrap();
}

fn never_ends() {
    loop {
        std::thread::park();
    }
}

#[test]
fn an_exit_that_does_not_end_is_ended() {
    let _watchdog = Watchdog::new("a worker_exit that never ends", FAR);
    let sup = supervisor(MpPoolConfig::new(1).worker_exit(never_ends));
    let pid = pid::builder().supervisor(&sup).start().join().unwrap();
    sup.stop(StopOptions::new());
    assert!(Process::is_gone(pid));
}

#[background_task(tt = "mp")]
fn nice() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

#[test]
fn workers_are_nicer_by_so_much() {
    let own = nice::call();
    let more = |n: i32| {
        let sup = supervisor(MpPoolConfig::new(1).nice(n));
        nice::builder().supervisor(&sup).start().join().unwrap()
    };
    assert_eq!(more(0), own);
    assert_eq!(more(3), (own + 3).min(19));
    assert_eq!(more(100), 19);
}

/// How much of `bytes` can be had.
#[background_task(tt = "mp")]
fn allocate(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let got = room.try_reserve_exact(bytes).is_ok();
    std::hint::black_box(&room);
    got
}

#[background_task(tt = "mp")]
fn insist(bytes: usize) -> usize {
    std::hint::black_box(vec![1u8; bytes]).len()
}

#[test]
fn memory_is_what_a_worker_may_add() {
    const MIB: usize = 1 << 20;
    let sup = supervisor(MpPoolConfig::new(1).memory_limit(100 * MIB as u64));
    let there = pid::builder().supervisor(&sup).start().join().unwrap();
    for (bytes, got) in [(90 * MIB, true), (101 * MIB, false), (90 * MIB, true)] {
        let task = allocate::builder(bytes).supervisor(&sup).start();
        assert_eq!(task.join().unwrap(), got, "{bytes}");
    }
    assert_eq!(insist::builder(90 * MIB).supervisor(&sup).start().join().unwrap(), 90 * MIB);
    assert_eq!(pid::builder().supervisor(&sup).start().join().unwrap(), there);
    // One that can't do without costs itself.
    let fatal = insist::builder(200 * MIB).supervisor(&sup).start();
    let next = pid::builder().supervisor(&sup).start();
    let TaskError::WorkerDied(death) = fatal.join().unwrap_err() else { panic!() };
    assert_eq!((death.pid(), death.cause().to_string().as_str()), (there, "SIGABRT (6)"));
    assert_ne!(next.join().unwrap(), there);
}

#[background_task(tt = "mp")]
fn outputs() -> Vec<PathBuf> {
    println!("this goes nowhere");
    let links = ["/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"];
    links.iter().map(|link| std::fs::read_link(link).unwrap()).collect()
}

#[test]
fn output_to_nowhere_or_where_the_program_writes() {
    let sup = supervisor(MpPoolConfig::new(1).stdio(WorkerStdio::Null));
    let there = outputs::builder().supervisor(&sup).start().join().unwrap();
    assert_eq!(there, vec![PathBuf::from("/dev/null"); 3]);

    let sup = supervisor(MpPoolConfig::new(1).stdio(WorkerStdio::Inherit));
    let there = outputs::builder().supervisor(&sup).start().join().unwrap();
    assert_eq!(there[1..], outputs::call()[1..]);
    assert_eq!(there[0], Path::new("/dev/null"));
}

#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

#[test]
fn a_launch_waits_for_room_in_the_queue() {
    let _watchdog = Watchdog::new("a blocked launch", 3 * FAR);
    let sup = supervisor(MpPoolConfig::new(1).queue_bytes(2_500_000, Overflow::Block));
    let (busy, _) = occupy(&sup);
    let waiting = |sup: &Supervisor| sup.info().mp_pool.unwrap().waiting.total();
    let (sender, launched) = mpsc::channel();
    let launcher = std::thread::spawn({
        let sup = sup.clone();
        move || {
            for _ in 0..6 {
                let task = length::builder(&[1; 1_000_000]).supervisor(&sup).start();
                sender.send((task, waiting(&sup))).unwrap();
            }
        }
    });
    eventually(|| waiting(&sup) == 2);
    busy.stop();
    let launched: Vec<_> = launched.iter().collect();
    launcher.join().unwrap();
    assert_eq!(launched.len(), 6);
    for (task, waiting) in launched {
        // One more may have left the queue for the worker, and not have begun there.
        assert!(waiting <= 3, "{waiting} wait, and there is room for two");
        assert_eq!(task.join().unwrap(), 1_000_000);
    }
    busy.join().unwrap();

    // One that is larger than all the room is taken when none waits.
    assert_eq!(
        length::builder(&[1; 3_000_000]).supervisor(&sup).start().join().unwrap(),
        3_000_000
    );
}

#[test]
fn a_launch_inside_a_task_never_waits_for_room() {
    let _watchdog = Watchdog::new("a launch inside a task", FAR);
    let sup = Supervisor::builder()
        .mp_pool(MpPoolConfig::new(1).queue_limit(1, Overflow::Block))
        .thread_pool(PoolConfig::new(1))
        .build();
    let (busy, _) = occupy(&sup);
    let task = sup.spawn({
        let sup = sup.clone();
        move || -> Vec<Task<usize>> {
            (0..5).map(|n| length::builder(&vec![1; n]).supervisor(&sup).start()).collect()
        }
    });
    let launched = task.join().unwrap();
    assert!(launched.iter().all(|task| task.status() == TaskStatus::Queued));
    busy.stop();
    assert_eq!(wait_completed!(launched).unwrap(), [0, 1, 2, 3, 4]);
    busy.join().unwrap();
}

#[test]
fn arguments_beyond_the_room_are_rejected() {
    let sup = supervisor(MpPoolConfig::new(1).queue_bytes(2_500_000, Overflow::Reject));
    let (busy, _) = occupy(&sup);
    let launch = || length::builder(&[1; 1_000_000]).supervisor(&sup).start();
    let (first, second, third) = (launch(), launch(), launch());
    assert!(matches!(third.join().unwrap_err(), TaskError::QueueFull));
    // What is canceled makes room.
    assert!(first.cancel());
    let fourth = launch();
    busy.stop();
    assert_eq!(second.join().unwrap() + fourth.join().unwrap(), 2_000_000);
    busy.join().unwrap();
}

/// Says how deep it got; it gets to the end of its stack.
fn down(n: u64) -> u64 {
    let room = std::hint::black_box([n; 512]);
    if n == u64::MAX { 0 } else { down(n + 1) + room[(n % 512) as usize] }
}

#[background_task]
fn overflows_on_a_thread() -> u64 {
    down(std::hint::black_box(0))
}

#[background_task]
async fn overflows_on_an_aloop() -> u64 {
    down(std::hint::black_box(0))
}

#[background_task(tt = "mp")]
fn overflows_inside(on_aloop: bool) -> u64 {
    if on_aloop {
        overflows_on_an_aloop().join().unwrap()
    } else {
        overflows_on_a_thread().join().unwrap()
    }
}

#[test]
fn a_stack_overflow_on_any_thread_of_a_worker_is_named() {
    let sup = supervisor(MpPoolConfig::new(1));
    for on_aloop in [false, true] {
        let error = overflows_inside::builder(on_aloop).supervisor(&sup).start().join();
        let TaskError::WorkerDied(death) = error.unwrap_err() else { panic!("{on_aloop}") };
        assert_eq!(death.cause().to_string(), "stack overflow, SIGABRT (6)", "{on_aloop}");
    }
}

/// How many descriptors this process may have.
fn limit_descriptors(most: libc::rlim_t) -> libc::rlim_t {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        before
    }
}

/// Run by the test below, in a process of its own: others would miss descriptors, too.
#[test]
#[ignore = "is run by another test, in a process of its own"]
fn without_descriptors() {
    let _watchdog = Watchdog::new("without descriptors", FAR);
    let sup = supervisor(MpPoolConfig::new(2));
    let launch = || pid::builder().supervisor(&sup).start();
    // None can be started at all: the tasks are told. Wherever on the way there is no more.
    let (mut failed, mut started) = (0, 0);
    for most in 3..30 {
        let before = limit_descriptors(most);
        let starved = launch();
        let error = starved.wait().err();
        limit_descriptors(before);
        match error {
            Some(TaskError::NotStarted { detail, .. }) => {
                assert!(detail.contains("Too many open files"), "{most}: {detail}");
                failed += 1;
            }
            None => started += 1,
            Some(error) => panic!("{most}: {error}"),
        }
        launch().join().unwrap();
        // Nothing of the failures stays open.
        sup.stop(StopOptions::new());
        sup.start();
        if started > 2 {
            break;
        }
    }
    assert!(failed > 4 && started > 0, "{failed} {started}");
    // One is there: the others wait for it.
    let (busy, _) = occupy(&sup);
    let before = limit_descriptors(3);
    let waits = launch();
    eventually(|| sup.info().mp_pool.unwrap().waiting.total() == 1);
    busy.stop();
    let there = busy.join().unwrap();
    assert_eq!(waits.join().unwrap(), there);
    limit_descriptors(before);
    let (first, one) = occupy(&sup);
    let (second, other) = occupy(&sup);
    assert_ne!(one, other);
    first.stop();
    second.stop();
    let _ = wait_completed!(first, second).unwrap();
    let open = descriptors();
    sup.stop(StopOptions::new());
    assert!(descriptors() <= open - 2 * 4, "four for each worker");
}

#[test]
fn a_pool_without_descriptors_recovers() {
    let program = std::env::current_exe().unwrap();
    let child = std::process::Command::new(program)
        .args(["--exact", "without_descriptors", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}\n{errors}");
    assert!(output.contains("1 passed"), "{output}\n{errors}");
}
