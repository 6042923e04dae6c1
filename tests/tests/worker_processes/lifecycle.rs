//! How does the configuration of a pool affect its worker processes, from start to end?

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, PoolConfig, Priority, StopOptions, Supervisor, Task, TaskError,
    TaskStatus, WorkerStdio, background_task, wait_completed, worker_data,
};
use atasker_tests::mp::{allocate, occupy, pid, pool_of, supervisor};
use atasker_tests::processes::{Process, descriptors, rerun};
use atasker_tests::{FAR, Watchdog, eventually};

/// A temporary file of this test.
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
fn init_and_exit_run_once_per_worker() {
    let path = scratch("hooks");
    // Not with a template, which runs `worker_init` once.
    let config = MpPoolConfig::new(1).worker_data(&path);
    let config = config.worker_init(note_init).worker_exit(note_exit).max_tasks_per_worker(2);
    let sup = supervisor(config);
    let pids: Vec<u32> =
        (0..5).map(|_| pid::builder().supervisor(&sup).start().join().unwrap()).collect();
    assert_eq!((pids[0], pids[2]), (pids[1], pids[3]));
    // Enough tasks for two worker processes; the stop ends the third.
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
fn exit_runs_at_idle_timeout() {
    let path = scratch("idle");
    let config = pool_of(1).worker_data(&path).worker_exit(note_exit);
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
fn endless_exit_is_killed() {
    let _watchdog = Watchdog::new("a worker_exit that never ends", FAR);
    let sup = supervisor(pool_of(1).worker_exit(never_ends));
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
fn nice_is_added_to_workers() {
    let own = nice::call();
    let more = |n: i32| {
        let sup = supervisor(pool_of(1).nice(n));
        nice::builder().supervisor(&sup).start().join().unwrap()
    };
    assert_eq!(more(0), own);
    assert_eq!(more(3), (own + 3).min(19));
    assert_eq!(more(100), 19);
}

/// Whether a thread may lower its nice value again: tried on a thread that ends here.
fn may_come_back() -> bool {
    let tried = std::thread::spawn(|| {
        let own = nice::call();
        // SAFETY: no preconditions; on Linux, the nice value belongs to the thread.
        let set = |nice| unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0 };
        set(own + 1) && set(own)
    });
    tried.join().unwrap()
}

#[test]
fn nice_by_priority_applies_to_low_tasks() {
    let own = nice::call();
    let low = if may_come_back() { (own + 10).min(19) } else { own };
    let sup = supervisor(pool_of(1).nice_by_priority(true));
    for (priority, expected) in [
        (Priority::Normal, own),
        (Priority::Low, low),
        (Priority::Low, low),
        (Priority::High, own),
        (Priority::Low, low),
        (Priority::Critical, own),
    ] {
        let task = nice::builder().priority(priority).supervisor(&sup).start();
        assert_eq!(task.join().unwrap(), expected, "{priority:?}");
    }
    // Not unless configured.
    let sup = supervisor(pool_of(1));
    let task = nice::builder().priority(Priority::Low).supervisor(&sup).start();
    assert_eq!(task.join().unwrap(), own);
}

#[background_task(tt = "mp")]
fn insist(bytes: usize) -> usize {
    std::hint::black_box(vec![1u8; bytes]).len()
}

#[test]
fn memory_limit_applies_to_additional_memory() {
    const MIB: usize = 1 << 20;
    let sup = supervisor(pool_of(1).memory_limit(100 * MIB as u64));
    let there = pid::builder().supervisor(&sup).start().join().unwrap();
    for (bytes, got) in [(90 * MIB, true), (101 * MIB, false), (90 * MIB, true)] {
        let task = allocate::builder(bytes).supervisor(&sup).start();
        assert_eq!(task.join().unwrap(), got, "{bytes}");
    }
    assert_eq!(insist::builder(90 * MIB).supervisor(&sup).start().join().unwrap(), 90 * MIB);
    assert_eq!(pid::builder().supervisor(&sup).start().join().unwrap(), there);
    // A task that cannot handle the failed allocation ends only its worker process.
    let fatal = insist::builder(200 * MIB).supervisor(&sup).start();
    let next = pid::builder().supervisor(&sup).start();
    let TaskError::WorkerDied(death) = fatal.join().unwrap_err() else { panic!() };
    let cause = death.cause().to_string();
    assert_eq!((death.pid(), cause.as_str()), (there, "memory limit, SIGABRT (6)"));
    assert_ne!(next.join().unwrap(), there);
}

#[background_task(tt = "mp")]
fn outputs() -> Vec<PathBuf> {
    println!("discarded output");
    let links = ["/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"];
    links.iter().map(|link| std::fs::read_link(link).unwrap()).collect()
}

#[test]
fn stdio_null_and_inherit() {
    let sup = supervisor(pool_of(1).stdio(WorkerStdio::Null));
    let there = outputs::builder().supervisor(&sup).start().join().unwrap();
    assert_eq!(there, vec![PathBuf::from("/dev/null"); 3]);

    let sup = supervisor(pool_of(1).stdio(WorkerStdio::Inherit));
    let there = outputs::builder().supervisor(&sup).start().join().unwrap();
    assert_eq!(there[1..], outputs::call()[1..]);
    assert_eq!(there[0], Path::new("/dev/null"));
}

#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

#[test]
fn full_queue_blocks_launch() {
    let _watchdog = Watchdog::new("a blocked launch", 3 * FAR);
    let sup = supervisor(pool_of(1).queue_bytes(2_500_000, Overflow::Block));
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
        // One more task may have left the queue for the worker process without having begun there.
        assert!(waiting <= 3, "{waiting} tasks are queued, with a capacity of two");
        assert_eq!(task.join().unwrap(), 1_000_000);
    }
    busy.join().unwrap();

    // A task that exceeds the whole capacity is accepted when no task is queued.
    assert_eq!(
        length::builder(&[1; 3_000_000]).supervisor(&sup).start().join().unwrap(),
        3_000_000
    );
}

#[test]
fn launch_inside_task_never_blocks() {
    let _watchdog = Watchdog::new("a launch inside a task", FAR);
    let sup = Supervisor::builder()
        .mp_pool(pool_of(1).queue_limit(1, Overflow::Block))
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
fn arguments_above_queue_bytes_are_rejected() {
    let sup = supervisor(pool_of(1).queue_bytes(2_500_000, Overflow::Reject));
    let (busy, _) = occupy(&sup);
    let launch = || length::builder(&[1; 1_000_000]).supervisor(&sup).start();
    let (first, second, third) = (launch(), launch(), launch());
    assert!(matches!(third.join().unwrap_err(), TaskError::QueueFull));
    // A canceled task frees its share of the capacity.
    assert!(first.cancel());
    let fourth = launch();
    busy.stop();
    assert_eq!(second.join().unwrap() + fourth.join().unwrap(), 2_000_000);
    busy.join().unwrap();
}

/// Recurses to the end of its stack and reports the depth.
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
fn stack_overflow_is_named_on_every_thread() {
    let sup = supervisor(pool_of(1));
    for on_aloop in [false, true] {
        let error = overflows_inside::builder(on_aloop).supervisor(&sup).start().join();
        let TaskError::WorkerDied(death) = error.unwrap_err() else { panic!("{on_aloop}") };
        assert_eq!(death.cause().to_string(), "stack overflow, SIGABRT (6)", "{on_aloop}");
    }
}

/// Limits the number of descriptors of this process.
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

/// Runs in a separate process, started by the test below, because other tests would lack
/// descriptors too.
#[test]
#[ignore = "run by another test in a separate process"]
fn without_descriptors() {
    let _watchdog = Watchdog::new("without descriptors", FAR);
    let sup = supervisor(pool_of(2));
    let launch = || pid::builder().supervisor(&sup).start();
    // No worker process can be started: the tasks fail, wherever the limit is reached.
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
        // The failed starts leak no descriptor.
        sup.stop(StopOptions::new());
        sup.start();
        if started > 2 {
            break;
        }
    }
    assert!(failed > 4 && started > 0, "{failed} {started}");
    // One worker process exists: the others wait for it.
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
    // Four descriptors per worker process.
    eventually(|| descriptors() <= open - 2 * 4);
}

#[test]
fn pool_recovers_from_descriptor_exhaustion() {
    let child = rerun("lifecycle::without_descriptors").output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}\n{errors}");
    assert!(output.contains("1 passed"), "{output}\n{errors}");
}

/// Whether the system may write a core file of a worker process, and of a program that its task
/// starts.
#[cfg(not(atasker_portable))]
#[background_task(tt = "mp")]
fn is_dumpable() -> (bool, bool) {
    // SAFETY: queries a number.
    let here = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    // The `/proc` files of an undumpable process belong to root and cannot be opened by other
    // users.
    let started = std::process::Command::new("cat").arg("/proc/self/environ").output().unwrap();
    (here == 1, started.status.success())
}

/// Other systems only forbid core files.
#[cfg(not(atasker_portable))]
#[test]
fn dumpable_false_protects_memory() {
    for (config, expected) in [
        (pool_of(1), true),
        (pool_of(1).dumpable(true), true),
        (pool_of(1).dumpable(false), false),
        (pool_of(1).dumpable(false).memory_limit(1 << 30), false),
    ] {
        let sup = supervisor(config);
        let (here, started) = is_dumpable::builder().supervisor(&sup).start().join().unwrap();
        assert_eq!((here, started), (expected, true));
        // The parent can still observe and end such a worker process.
        let (task, pid) = occupy(&sup);
        task.kill().unwrap();
        assert!(task.join().unwrap_err().is_canceled());
        assert!(Process::is_gone(pid));
    }
}

/// Values that a pool does not accept as hooks.
#[test]
fn variable_is_rejected_as_hook() {
    let panics = |f: &dyn Fn() -> MpPoolConfig| {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
        panic
            .downcast_ref::<String>()
            .cloned()
            .or(panic.downcast_ref::<&str>().map(|text| text.to_string()))
    };
    let variable: fn() = note_init;
    let text = panics(&|| pool_of(1).worker_init(variable)).unwrap();
    assert!(text.contains("`worker_init`") && text.contains("linked"), "{text}");
    let captured = std::process::id();
    let closure = move || assert!(captured > 0);
    let text = panics(&|| pool_of(1).worker_exit(closure)).unwrap();
    assert!(text.contains("`worker_exit`"), "{text}");
}

fn note_number<const N: u8>() {
    note(&format!("number {N}"));
}

/// Functions with typed parameters and closures are distinguished.
#[test]
fn hooks_are_distinguished_by_type() {
    let path = scratch("generic-hooks");
    for (config, what) in [
        (MpPoolConfig::new(1).worker_init(note_number::<1>), "number 1"),
        (MpPoolConfig::new(1).worker_init(note_number::<2>), "number 2"),
        (MpPoolConfig::new(1).worker_init(|| note("closure")), "closure"),
        (MpPoolConfig::new(1).worker_init(|| note("another")), "another"),
    ] {
        let _ = std::fs::remove_file(&path);
        let sup = supervisor(config.worker_data(&path));
        let pid = pid::builder().supervisor(&sup).start().join().unwrap();
        assert_eq!(noted(&path), [format!("{what} {pid}")]);
    }
    std::fs::remove_file(path).unwrap();
}
