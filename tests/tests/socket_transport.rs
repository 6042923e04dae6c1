//! Do worker processes that share no memory with the program behave like those that do? The
//! documented differences are in the module of the socket transport of the runtime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use atasker::{
    MpPoolConfig, Overflow, Priority, StopOptions, Supervisor, TaskContext, TaskError, TaskStatus,
    WorkerStdio, background_task, worker_data,
};
use atasker_tests::mp::{occupy, pid, pool_of, run_pid, spins, supervisor, workers};
use atasker_tests::processes::{Process, cpu_time, descriptors, mappings, rerun, signal, stop};
use atasker_tests::scratch::{Scratch, append_line};
use atasker_tests::{FAR, Watchdog, eventually};

fn config(workers: usize) -> MpPoolConfig {
    pool_of(workers).__over_sockets(true)
}

fn restarts(sup: &Supervisor) -> u64 {
    sup.info().mp_pool.unwrap().restarts
}

#[background_task(tt = "mp")]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> (usize, u32) {
    (bytes.len(), std::process::id())
}

#[background_task(tt = "mp")]
fn fails(how: &str) -> Result<u32, String> {
    match how {
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        // SAFETY: none; this process is supposed to end here.
        "segv" => unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) },
        "overflow" => {
            std::hint::black_box(down(std::hint::black_box(0)));
        }
        "kill" => signal(std::process::id(), libc::SIGKILL),
        "panic" => panic!("asked to panic"),
        _ => return Err(how.to_owned()),
    }
    Ok(0)
}

/// Exhausts the stack.
fn down(n: u64) -> u64 {
    let room = std::hint::black_box([n; 512]);
    if n == u64::MAX { 0 } else { down(n + 1) + room[(n % 512) as usize] }
}

#[background_task(tt = "mp")]
fn notes(path: &Path, what: &str) -> u32 {
    append_line(path, what);
    std::process::id()
}

/// Whether this process shares memory with a worker process.
fn shares(maps: &[String]) -> bool {
    maps.iter().any(|line| line.contains("memfd:atasker"))
}

#[background_task(tt = "mp")]
fn shares_there() -> bool {
    shares(&mappings())
}

#[test]
fn results_of_all_sizes_arrive() {
    let _watchdog = Watchdog::new("results of all sizes", FAR);
    let sup = supervisor(config(2));
    let sizes = [0, 1, 30, 250, 255, 256, 257, 4000, 4096, 5000, 1 << 16, (1 << 16) + 1, 1 << 20];
    for size in sizes.into_iter().chain([9 << 20]) {
        let bytes: Vec<u8> = (0..size).map(|n: usize| (n * 7 % 251) as u8).collect();
        let back = echo::builder(bytes.clone()).supervisor(&sup).start().join().unwrap();
        assert!(back == bytes, "{size}");
    }
    // Several concurrent calls, and a name in addition to the arguments.
    let name = "n".repeat(3000);
    let echoes: Vec<_> = (0..40u8)
        .map(|n| {
            let bytes = vec![n; usize::from(n) * 20_000];
            (n, echo::builder(bytes).name(name.clone()).supervisor(&sup).start())
        })
        .collect();
    for (n, task) in echoes {
        let back = task.join().unwrap();
        assert!(back.len() == usize::from(n) * 20_000 && back.iter().all(|byte| *byte == n));
    }
    assert_eq!(restarts(&sup), 0);
}

#[test]
fn errors_and_panics_arrive() {
    let sup = supervisor(config(1));
    let there = run_pid(&sup);
    let task = fails::builder("an error").supervisor(&sup).start();
    assert_eq!(task.join().unwrap(), Err("an error".into()));
    let task = fails::builder("panic").supervisor(&sup).start();
    let error = task.join().unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("asked to panic"), "{error}");
    assert_eq!(run_pid(&sup), there);
}

#[background_task(tt = "mp")]
fn sums(ctx: &TaskContext<u64, String>) -> u64 {
    let mut sum = 0;
    loop {
        let n = ctx.recv().unwrap();
        if n == 0 {
            return sum;
        }
        sum += n;
        ctx.progress(n, 1000);
        if n.is_multiple_of(100) {
            ctx.message(&format!("at {n}"));
            ctx.send(format!("so far {sum}")).unwrap();
        }
    }
}

#[test]
fn messages_progress_and_stop_cross() {
    let _watchdog = Watchdog::new("a context", FAR);
    let sup = supervisor(config(1));
    let task = sums::builder().supervisor(&sup).start();
    let mut sum = 0;
    for n in 1..=1000u64 {
        task.send(n).unwrap();
        sum += n;
        if n.is_multiple_of(100) {
            assert_eq!(task.recv().unwrap(), format!("so far {sum}"));
            // All earlier progress is visible.
            let progress = task.info().progress.unwrap();
            assert_eq!((progress.done, progress.total), (n, 1000));
            assert_eq!(progress.message, Some(format!("at {n}")));
        }
    }
    assert_eq!(task.info().status, TaskStatus::Started);
    task.send(0).unwrap();
    assert_eq!(task.join().unwrap(), sum);

    let (task, there) = occupy(&sup);
    let info = task.info();
    assert_eq!((info.status, info.worker_pid), (TaskStatus::Started, Some(there)));
    task.stop();
    assert_eq!(task.join().unwrap(), there);
    let pool = sup.info().mp_pool.unwrap();
    assert_eq!((pool.running, pool.tasks_run, pool.restarts), (0, 2, 0));
}

#[test]
fn time_limit_and_kill_end_running_task() {
    let _watchdog = Watchdog::new("limits and kills", FAR);
    let sup = supervisor(config(1));
    let limit = Duration::from_millis(100);
    let task = spins::builder().supervisor(&sup).timeout(limit).start();
    let (there, next) = (task.recv().unwrap(), pid::builder().supervisor(&sup).start());
    assert!(task.join().unwrap_err().is_timeout());
    assert_ne!(next.join().unwrap(), there);

    let task = spins::builder().supervisor(&sup).start();
    let there = task.recv().unwrap();
    let next = pid::builder().supervisor(&sup).start();
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    assert!(Process::is_gone(there));
    assert_ne!(next.join().unwrap(), there);
    assert_eq!(restarts(&sup), 2);
}

#[test]
fn cancel_affects_only_pending_tasks() {
    let _watchdog = Watchdog::new("cancel", FAR);
    let file = Scratch::new("cancel");
    let sup = supervisor(config(1));
    let (busy, _) = occupy(&sup);
    let waiting = notes::builder(file.path(), "waiting").supervisor(&sup).start();
    assert!(waiting.cancel());
    assert!(!busy.cancel());
    busy.stop();
    assert!(busy.join().is_ok());
    run_pid(&sup);
    assert_eq!(file.lines().len(), 0);
}

#[test]
fn death_fails_only_running_task() {
    let _watchdog = Watchdog::new("deaths", 2 * FAR);
    let sup = supervisor(config(2));
    let (other, there) = occupy(&sup);
    let ways = [
        ("exit", "exit code 3"),
        ("abort", "SIGABRT (6)"),
        ("segv", "SIGSEGV (11)"),
        ("overflow", "stack overflow, SIGABRT (6)"),
        ("kill", "SIGKILL (9)"),
    ];
    for (how, cause) in ways {
        let task = fails::builder(how).supervisor(&sup).start();
        let behind: Vec<_> = (0..5).map(|_| pid::builder().supervisor(&sup).start()).collect();
        let error = task.join().unwrap_err();
        assert!(error.is_worker_died(), "{how}: {error}");
        assert!(error.to_string().contains(cause), "{how}: {error}");
        for task in behind {
            assert_ne!(task.join().unwrap(), there);
        }
    }
    assert_eq!(restarts(&sup), ways.len() as u64);
    assert!(!Process::is_gone(there));
    other.stop();
    assert_eq!(other.join().unwrap(), there);
}

/// The worker process is killed while the call is in transit and has not begun: another one runs
/// it, once.
#[test]
fn unbegun_call_of_dead_worker_is_reassigned() {
    let _watchdog = Watchdog::new("killed before the begin", FAR);
    for size in [0, 3000, 4 << 20] {
        let file = Scratch::new("unbegun");
        let sup = supervisor(config(1));
        let there = run_pid(&sup);
        stop(there);
        let what = "x".repeat(size);
        let task = notes::builder(file.path(), &what).supervisor(&sup).start();
        signal(there, libc::SIGKILL);
        assert_ne!(task.join().unwrap(), there);
        assert_eq!(file.lines(), [what], "{size}");
        assert_eq!(restarts(&sup), 1);
    }
}

/// The worker process dies at any time after the call has begun: the task fails and does not run
/// again.
#[test]
fn begun_call_of_dead_worker_is_blamed() {
    let _watchdog = Watchdog::new("killed after the begin", FAR);
    for _ in 0..20 {
        let file = Scratch::new("begun");
        let sup = supervisor(config(1));
        let there = run_pid(&sup);
        let task = notes_and_dies::builder(file.path()).supervisor(&sup).start();
        let next = notes::builder(file.path(), "next").supervisor(&sup).start();
        assert!(task.join().unwrap_err().is_worker_died());
        assert_ne!(next.join().unwrap(), there);
        assert_eq!(file.lines(), ["begun", "next"]);
    }
}

#[background_task(tt = "mp")]
fn notes_and_dies(path: &Path) {
    append_line(path, "begun");
    signal(std::process::id(), libc::SIGKILL);
}

/// A call that cannot be revoked is reassigned by killing the worker process.
#[test]
fn calls_for_stopped_worker_are_reassigned() {
    let _watchdog = Watchdog::new("a stopped worker process", FAR);
    let sup = supervisor(config(1));
    let there = run_pid(&sup);
    stop(there);
    let tasks: Vec<_> = (0..20).map(|_| pid::builder().supervisor(&sup).start()).collect();
    for task in tasks {
        assert_ne!(task.join().unwrap(), there);
    }
    assert!(Process::is_gone(there));
}

#[test]
fn running_task_in_stopped_worker_stays() {
    let _watchdog = Watchdog::new("a task of a stopped worker", FAR);
    let sup = supervisor(config(2));
    let (busy, there) = occupy(&sup);
    stop(there);
    // Longer than the interval at which the pool checks for calls that do not begin.
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        assert_ne!(run_pid(&sup), there);
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(there, libc::SIGCONT);
    busy.stop();
    assert_eq!(busy.join().unwrap(), there);
    assert_eq!(restarts(&sup), 0);
}

#[test]
fn sent_unbegun_task_can_be_killed() {
    let _watchdog = Watchdog::new("a kill before the begin", FAR);
    let file = Scratch::new("kill-unbegun");
    let sup = supervisor(config(1));
    let there = run_pid(&sup);
    stop(there);
    let task = notes::builder(file.path(), "unwanted").supervisor(&sup).start();
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    assert!(Process::is_gone(there));
    assert_ne!(run_pid(&sup), there);
    assert_eq!(file.lines().len(), 0);
}

#[test]
fn supervisor_stop_ends_all() {
    let _watchdog = Watchdog::new("a stop", FAR);
    let sup = supervisor(config(3));
    let (one, first) = occupy(&sup);
    let (two, second) = occupy(&sup);
    stop(second);
    let third = run_pid(&sup);
    stop(third);
    let sent = pid::builder().supervisor(&sup).start();
    let report = sup.stop(StopOptions::new().cancel_tasks(true).wait(Duration::from_secs(1)));
    assert!(one.join().is_ok(), "the task stops on request");
    for error in [two.join().unwrap_err(), sent.join().unwrap_err()] {
        assert!(matches!(error, TaskError::SupervisorStopped), "{error}");
    }
    // Calls that have not begun belong to the pool and are not counted.
    assert_eq!(report.abandoned, 1, "{report:?}");
    assert!([first, second, third].into_iter().all(Process::is_gone));
    assert!(sup.start());
    run_pid(&sup);
    drop(sup);
}

#[background_task(tt = "mp")]
fn dies_twice(path: &Path) -> usize {
    append_line(path, "run");
    let runs = std::fs::read_to_string(path).unwrap().lines().count();
    if runs < 3 {
        std::process::abort();
    }
    runs
}

#[test]
fn crashed_task_is_retried() {
    let _watchdog = Watchdog::new("retries", FAR);
    let file = Scratch::new("retries");
    let sup = supervisor(config(1));
    let task = dies_twice::builder(file.path()).retries(5).supervisor(&sup).start();
    assert_eq!(task.wait().unwrap(), &3);
    assert_eq!(task.info().attempt, 3);
    assert_eq!(task.join().unwrap(), 3);
}

fn note_init() {
    append_line(worker_data::<PathBuf>().unwrap(), "init");
}

fn note_exit() {
    append_line(worker_data::<PathBuf>().unwrap(), "exit");
}

#[background_task(tt = "mp")]
fn data() -> PathBuf {
    worker_data::<PathBuf>().unwrap().clone()
}

#[test]
fn hooks_and_worker_data_work() {
    let _watchdog = Watchdog::new("hooks", FAR);
    let file = Scratch::new("hooks");
    // A template would run `worker_init` once.
    let config = config(1)
        .template(false)
        .worker_data(&file.path().to_path_buf())
        .worker_init(note_init)
        .worker_exit(note_exit);
    let sup = supervisor(config.max_tasks_per_worker(2));
    for _ in 0..5 {
        assert_eq!(data::builder().supervisor(&sup).start().join().unwrap(), file.path());
    }
    sup.stop(StopOptions::new());
    // A worker process may exit while the next one starts.
    let mut lines = file.lines();
    lines.sort();
    assert_eq!(lines, ["exit", "exit", "exit", "init", "init", "init"]);
    assert_eq!(restarts(&sup), 0);
}

#[test]
fn idle_worker_exits() {
    let _watchdog = Watchdog::new("idle ones", FAR);
    let sup = supervisor(config(1).idle_timeout(Duration::from_millis(20)));
    let there = run_pid(&sup);
    eventually(|| Process::is_gone(there));
    eventually(|| workers(&sup).is_empty());
    assert_ne!(run_pid(&sup), there);
    assert_eq!(restarts(&sup), 0);
}

fn slow_init() {
    std::thread::sleep(Duration::from_millis(500));
}

/// Calls for a worker process that is not ready have not been sent. Without a template, which would
/// be slow in place of the worker process.
#[test]
fn call_for_starting_worker_can_be_canceled() {
    let _watchdog = Watchdog::new("a worker process that starts slowly", FAR);
    let file = Scratch::new("held");
    let sup = supervisor(config(1).template(false).worker_init(slow_init));
    let bulk = "x".repeat(1 << 20);
    // More calls than the page has entries.
    for n in 0..300 {
        let what = if n % 10 == 0 { &*bulk } else { "unwanted" };
        let task = notes::builder(file.path(), what).supervisor(&sup).start();
        if n == 0 {
            eventually(|| !workers(&sup).is_empty());
        }
        assert!(task.cancel(), "{n}");
    }
    let killed = notes::builder(file.path(), "unwanted").supervisor(&sup).start();
    killed.kill().unwrap();
    assert!(killed.join().unwrap_err().is_canceled());
    let started = workers(&sup);
    let wanted = notes::builder(file.path(), "wanted").supervisor(&sup).start();
    assert_eq!(vec![wanted.join().unwrap()], started);
    assert_eq!(file.lines(), ["wanted"]);
    assert_eq!(restarts(&sup), 0);

    // A stop also ends a worker process that has only just started.
    let sup = supervisor(config(1).template(false).worker_init(slow_init));
    let task = notes::builder(file.path(), "unwanted").supervisor(&sup).start();
    eventually(|| !workers(&sup).is_empty());
    sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert!(task.join().is_err());
    assert_eq!(file.lines(), ["wanted"]);
}

#[background_task(tt = "mp")]
fn adds(a: u64, b: u64) -> u64 {
    a + b
}

#[test]
fn many_tasks_from_several_threads() {
    let _watchdog = Watchdog::new("many tasks", 2 * FAR);
    let sup = supervisor(config(3));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let sup = &sup;
            scope.spawn(move || {
                for round in 0..20 {
                    let tasks: Vec<_> = (0..25u64)
                        .map(|n| adds::builder(thread * round, n).supervisor(sup).start())
                        .collect();
                    for (n, task) in (0..).zip(tasks) {
                        assert_eq!(task.join().unwrap(), thread * round + n);
                    }
                }
            });
        }
    });
    let pool = sup.info().mp_pool.unwrap();
    assert_eq!((pool.tasks_run, pool.restarts), (2000, 0));
    assert!(workers(&sup).len() <= 3);
}

#[test]
fn urgent_calls_begin_first() {
    let _watchdog = Watchdog::new("priorities", FAR);
    let file = Scratch::new("priorities");
    let sup = supervisor(config(1));
    let (busy, _) = occupy(&sup);
    let tasks: Vec<_> = [Priority::Low, Priority::Normal, Priority::High]
        .into_iter()
        .cycle()
        .take(9)
        .map(|priority| {
            let name = format!("{priority:?}");
            notes::builder(file.path(), &name).priority(priority).supervisor(&sup).start()
        })
        .collect();
    busy.stop();
    for task in tasks {
        task.join().unwrap();
    }
    let lines = file.lines();
    let count = |of: &[String], what: &str| of.iter().filter(|line| *line == what).count();
    assert_eq!(count(&lines[..3], "High"), 3, "{lines:?}");
    assert_eq!(count(&lines[3..6], "Normal"), 3, "{lines:?}");
    assert_eq!(count(&lines[6..], "Low"), 3, "{lines:?}");
}

#[test]
fn queued_bytes_are_limited() {
    let _watchdog = Watchdog::new("queue_bytes", FAR);
    let sup = supervisor(config(1).queue_bytes(10_000, Overflow::Reject));
    let (busy, _) = occupy(&sup);
    let bytes = vec![1; 4000];
    let tasks: Vec<_> = (0..5).map(|_| length::builder(&bytes).supervisor(&sup).start()).collect();
    busy.stop();
    let outcomes: Vec<_> = tasks.into_iter().map(|task| task.join().is_ok()).collect();
    assert_eq!(outcomes, [true, true, false, false, false]);
    assert!(length::builder(&bytes).supervisor(&sup).start().join().is_ok());
}

/// The lines of worker processes and the ends of tasks, in order of arrival.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collect;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Collect {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        if line.0.starts_with("line ") || line.0.starts_with("event ") {
            SEEN.lock().unwrap().push(line.0);
        }
    }
}

#[background_task(tt = "mp")]
fn prints(n: u32) {
    println!("line {n}");
    tracing::info!("event {n}");
}

#[test]
fn output_precedes_end_of_task() {
    use tracing_subscriber::layer::SubscriberExt;
    let _watchdog = Watchdog::new("what workers print", FAR);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Collect)).unwrap();
    let sup = supervisor(config(1).stdio(WorkerStdio::Log));
    for n in 0..50 {
        prints::builder(n).supervisor(&sup).start().join().unwrap();
        let mut seen = std::mem::take(&mut *SEEN.lock().unwrap());
        seen.sort();
        assert_eq!(seen, [format!("event {n}"), format!("line {n}")]);
    }
}

#[test]
fn no_memory_is_shared() {
    let sup = supervisor(config(1));
    let there = run_pid(&sup);
    assert!(!shares_there::builder().supervisor(&sup).start().join().unwrap());
    let open = std::fs::read_dir(format!("/proc/{there}/fd")).unwrap();
    for fd in open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()) {
        assert!(!fd.to_string_lossy().contains("memfd"), "{fd:?}");
    }
}

#[track_caller]
fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

/// Asserts that pools without an explicit setting use the fallback.
fn assert_fallback() {
    let sup = Supervisor::builder().mp_pool(pool_of(1)).build();
    assert!(!shares_there::builder().supervisor(&sup).start().join().unwrap());
    let bytes = vec![3; 1 << 20];
    assert!(echo::builder(bytes.clone()).supervisor(&sup).start().join().unwrap() == bytes);
    assert!(!shares(&mappings()));
}

#[test]
#[ignore = "run by another test in a separate process"]
fn used_when_requested() {
    assert_fallback();
}

#[test]
fn environment_variable_selects_sockets() {
    passes(rerun("used_when_requested").env("ATASKER_WORKERS", "sockets"));
}

#[test]
#[ignore = "run by another test in a separate process"]
fn with_small_files() {
    let small = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
    // SAFETY: a valid pointer for the limits.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &small) }, 0);
    assert_fallback();
}

#[test]
fn file_size_limit_selects_sockets() {
    passes(&mut rerun("with_small_files"));
}

/// Lets a system call fail, in this thread and in the threads and processes that it starts: if `op`
/// is given, only with this second argument.
fn deny(call: libc::c_long, op: Option<u32>, errno: i32) {
    let code = |code: u32| u16::try_from(code).unwrap();
    let load = |offset| libc::sock_filter {
        code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS),
        jt: 0,
        jf: 0,
        k: offset,
    };
    // A mismatch jumps to the last but one instruction.
    let is = |k, jf| libc::sock_filter {
        code: code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
        jt: 0,
        jf,
        k,
    };
    let give = |k| libc::sock_filter { code: code(libc::BPF_RET | libc::BPF_K), jt: 0, jf: 0, k };
    let call = u32::try_from(call).unwrap();
    let deny = give(libc::SECCOMP_RET_ERRNO | errno.unsigned_abs());
    let mut filter = match op {
        None => vec![load(0), is(call, 1), deny, give(libc::SECCOMP_RET_ALLOW)],
        // The number of the call, then the lower half of its second argument.
        Some(op) => vec![
            load(0),
            is(call, 3),
            load(if cfg!(target_endian = "little") { 24 } else { 28 }),
            is(op, 1),
            deny,
            give(libc::SECCOMP_RET_ALLOW),
        ],
    };
    let program =
        libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid during this call; the kernel copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let filtered = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
        assert_eq!(filtered, 0, "{}", std::io::Error::last_os_error());
    }
}

#[test]
#[ignore = "run by another test in a separate process"]
fn without_memfd() {
    deny(libc::SYS_memfd_create, None, libc::EPERM);
    assert_fallback();
}

#[test]
#[ignore = "run by another test in a separate process"]
fn without_memfd_at_all() {
    deny(libc::SYS_memfd_create, None, libc::ENOSYS);
    assert_fallback();
}

#[test]
#[ignore = "run by another test in a separate process"]
fn without_seals() {
    deny(libc::SYS_fcntl, Some(1033), libc::EINVAL);
    assert_fallback();
}

#[test]
#[ignore = "run by another test in a separate process"]
fn without_futex() {
    // Waking a process-shared futex.
    deny(libc::SYS_futex, Some(1), libc::ENOSYS);
    assert_fallback();
}

#[test]
fn failing_memory_sharing_selects_sockets() {
    for what in ["without_memfd", "without_memfd_at_all", "without_seals", "without_futex"] {
        passes(&mut rerun(what));
    }
}

/// A shortage of descriptors does not cause the fallback.
#[test]
#[ignore = "run by another test in a separate process"]
fn with_few_descriptors() {
    // The first descriptor of a worker process.
    let first = if cfg!(atasker_portable) { libc::SYS_socketpair } else { libc::SYS_memfd_create };
    deny(first, None, libc::EMFILE);
    let sup = Supervisor::builder().mp_pool(pool_of(1)).build();
    let error = pid::builder().supervisor(&sup).start().join().unwrap_err();
    assert!(matches!(&error, TaskError::NotStarted { .. }), "{error}");
}

#[test]
fn descriptor_shortage_is_an_error() {
    passes(&mut rerun("with_few_descriptors"));
}

#[test]
#[ignore = "run by another test in a separate process"]
fn alone() {
    let _watchdog = Watchdog::new("crashes and idle CPU time", 2 * FAR);
    let sup = supervisor(config(2));
    let crash = || {
        let tasks: Vec<_> =
            (0..4).map(|_| fails::builder("abort").supervisor(&sup).start()).collect();
        for task in tasks {
            assert!(task.join().unwrap_err().is_worker_died());
        }
    };
    let rest = || {
        sup.set_mp_pool(config(2).idle_timeout(Duration::ZERO));
        eventually(|| workers(&sup).is_empty());
        sup.set_mp_pool(config(2));
    };
    crash();
    rest();
    // A reaped worker process leaves the pool before its descriptors are closed.
    let before = descriptors();
    for _ in 0..10 {
        crash();
    }
    rest();
    eventually(|| descriptors() <= before);

    // Both the program and the worker process are idle.
    let (first, second) = (occupy(&sup), occupy(&sup));
    for (task, _) in [first, second] {
        task.stop();
        task.join().unwrap();
    }
    // The pool checks a last time whether sent calls have begun.
    std::thread::sleep(Duration::from_millis(2100));
    let ticks = || -> u64 {
        let ticks = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        workers(&sup).into_iter().map(ticks).sum()
    };
    let (here, there) = (cpu_time(), ticks());
    std::thread::sleep(Duration::from_secs(1));
    let (busy, ticked) = (cpu_time() - here, ticks() - there);
    assert!(busy < Duration::from_millis(20) && ticked <= 1, "{busy:?}, {ticked} ticks");
}

#[test]
fn crashes_leak_no_descriptors_and_idle_workers_use_no_cpu() {
    passes(&mut rerun("alone"));
}
