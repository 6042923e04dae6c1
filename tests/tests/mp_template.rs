//! Are worker processes that are forked from a template like those that are executed: as processes, in
//! what they share and what not? And do they start by `exec` whenever the template can't serve?

// Most of the tests need a template, which the portable backend does not have.
#![cfg_attr(atasker_portable, allow(dead_code, unused_imports))]

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use atasker::{
    MpPoolConfig, StopOptions, Supervisor, TaskContext, TaskId, WorkerStdio, background_task,
    worker_data,
};
use atasker_tests::mp::{allocate, pid, run_pid, supervisor, workers};
use atasker_tests::processes::{Process, children, signal, stop};
use atasker_tests::{FAR, Watchdog, eventually};

/// The process that has run `worker_init`.
static INITIALIZED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static OF_THREAD: Cell<u32> = const { Cell::new(0) };
}

fn init() {
    INITIALIZED.store(std::process::id(), Ordering::Relaxed);
    OF_THREAD.set(std::process::id());
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Facts {
    pid: u32,
    parent: u32,
    group: i32,
    /// The process that has run `worker_init`.
    initialized_by: u32,
    of_thread: u32,
    threads: Vec<String>,
    title: String,
}

#[background_task(tt = "mp")]
fn facts() -> Facts {
    let title = std::fs::read("/proc/self/cmdline").unwrap();
    Facts {
        pid: std::process::id(),
        parent: std::os::unix::process::parent_id(),
        // SAFETY: no preconditions.
        group: unsafe { libc::getpgrp() },
        initialized_by: INITIALIZED.load(Ordering::Relaxed),
        of_thread: OF_THREAD.get(),
        threads: atasker_tests::processes::thread_names(),
        title: String::from_utf8_lossy(&title).trim_end_matches('\0').to_owned(),
    }
}

fn facts_of(sup: &Supervisor) -> Facts {
    facts::builder().supervisor(sup).start().join().unwrap()
}

/// A pool of which each worker process is forked, the first one too.
fn forked(size: usize) -> MpPoolConfig {
    MpPoolConfig::new(size).template(true).__template_first(true).worker_init(init)
}

/// The template of a supervisor, if it has one.
fn template_of(sup: &str) -> Option<u32> {
    let wanted = format!("[atasker template of {sup}]");
    let is_it = |pid: u32| {
        let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&title).contains(&wanted)
    };
    children().iter().map(|child| child.pid).find(|pid| is_it(*pid))
}

fn named(id: &str, config: MpPoolConfig) -> Supervisor {
    Supervisor::builder().id(id).mp_pool(config).build()
}

#[cfg(not(atasker_portable))]
#[test]
fn forked_worker_is_a_worker_process_like_others() {
    let _watchdog = Watchdog::new("a forked worker", FAR);
    let sup = named("like others", forked(1));
    let facts = facts_of(&sup);
    let template = template_of("like others").unwrap();
    assert_eq!((facts.parent, facts.group), (std::process::id(), facts.pid.cast_signed()));
    assert_eq!((facts.initialized_by, facts.of_thread), (template, template));
    assert_eq!(workers(&sup), [facts.pid]);
    assert_eq!(sup.info().mp_pool.unwrap().workers[0].number, 1);
    assert!(facts.title.contains("[atasker worker 1 of like others]"), "{facts:?}");
    assert!(!facts.title.contains("[atasker template"), "{facts:?}");
    // A thread has its name a moment after its start.
    eventually(|| {
        let mut threads = facts_of(&sup).threads;
        threads.sort();
        threads == ["atasker control", "atasker task", "atasker watch"]
    });
    sup.stop(StopOptions::new());
    assert!(Process::is_gone(facts.pid) && Process::is_gone(template));
}

/// A configuration as users write it: the first worker process is executed.
#[cfg(not(atasker_portable))]
#[test]
fn workers_after_the_first_are_forked() {
    let _watchdog = Watchdog::new("workers after the first", FAR);
    let config = MpPoolConfig::new(1).template(true).worker_init(init).max_tasks_per_worker(1);
    let sup = supervisor(config);
    let first = facts_of(&sup);
    assert_eq!(first.initialized_by, first.pid);
    // As soon as the template is ready.
    eventually(|| {
        let next = facts_of(&sup);
        next.initialized_by != next.pid
    });
    let pids: HashSet<u32> = (0..20).map(|_| run_pid(&sup)).collect();
    assert_eq!(pids.len(), 20);
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

/// The option is accepted everywhere.
#[test]
fn option_changes_no_result() {
    let _watchdog = Watchdog::new("the option", FAR);
    let sup = supervisor(MpPoolConfig::new(2).template(true).max_tasks_per_worker(2));
    let tasks: Vec<_> = (0..50).map(|_| pid::builder().supervisor(&sup).start()).collect();
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(sup.info().mp_pool.unwrap().tasks_run, 50);
}

fn leaves_a_thread() {
    init();
    std::thread::spawn(|| {
        loop {
            std::thread::park();
        }
    });
}

#[test]
fn worker_init_that_leaves_a_thread_forbids_the_template() {
    let _watchdog = Watchdog::new("a thread", FAR);
    let sup = named("thread left", forked(1).worker_init(leaves_a_thread).max_tasks_per_worker(1));
    for _ in 0..5 {
        let facts = facts_of(&sup);
        assert_eq!(facts.initialized_by, facts.pid);
    }
    // It is not tried again.
    assert_eq!(template_of("thread left"), None);
}

/// Installs a seccomp filter for which the kernel has no clone3.
#[cfg(all(not(atasker_portable), target_arch = "x86_64"))]
fn forbid_clone3() {
    init();
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_clone3 as u32),
        instruction(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        instruction(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter is a valid program of this length.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}

#[cfg(all(not(atasker_portable), target_arch = "x86_64"))]
#[test]
fn refused_fork_is_replaced_by_exec() {
    let _watchdog = Watchdog::new("no clone3", FAR);
    let sup = supervisor(forked(1).worker_init(forbid_clone3).max_tasks_per_worker(1));
    for _ in 0..5 {
        let facts = facts_of(&sup);
        assert_eq!(facts.initialized_by, facts.pid);
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[cfg(not(atasker_portable))]
#[test]
fn killed_template_is_replaced() {
    let _watchdog = Watchdog::new("a killed template", FAR);
    let sup = named("killed", forked(1).max_tasks_per_worker(1));
    let mut templates = HashSet::new();
    for _ in 0..3 {
        eventually(|| {
            let facts = facts_of(&sup);
            facts.initialized_by != facts.pid && templates.insert(facts.initialized_by)
        });
        signal(template_of("killed").unwrap(), libc::SIGKILL);
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

/// What has stopped it, a debugger for example, may never continue it.
#[cfg(not(atasker_portable))]
#[test]
fn stopped_template_delays_a_start_by_seconds() {
    let _watchdog = Watchdog::new("a stopped template", FAR);
    let sup = named("stopped", forked(1).max_tasks_per_worker(1));
    facts_of(&sup);
    let template = template_of("stopped").unwrap();
    stop(template);
    let facts = facts_of(&sup);
    assert_eq!(facts.initialized_by, facts.pid);
    assert!(Process::is_gone(template));
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

/// A process that is stopped can't be told to end, and a stop of the supervisor has a time limit.
#[cfg(not(atasker_portable))]
#[test]
fn stopped_template_ends_with_its_supervisor() {
    let _watchdog = Watchdog::new("a stopped template at the end", FAR);
    let sup = named("stopped too", forked(1));
    facts_of(&sup);
    let template = template_of("stopped too").unwrap();
    stop(template);
    let begin = Instant::now();
    sup.stop(StopOptions::new());
    assert!(Process::is_gone(template));
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[cfg(not(atasker_portable))]
#[test]
fn template_ends_when_the_pool_is_idle() {
    let _watchdog = Watchdog::new("an idle pool", FAR);
    let config = forked(1).idle_timeout(Duration::from_millis(20)).max_tasks_per_worker(1);
    let sup = named("idle", config);
    facts_of(&sup);
    let first = template_of("idle").unwrap();
    eventually(|| Process::is_gone(first));
    // Another one follows when there is work again.
    eventually(|| {
        let facts = facts_of(&sup);
        facts.initialized_by != facts.pid && facts.initialized_by != first
    });
}

#[cfg(not(atasker_portable))]
#[test]
fn other_settings_replace_the_template() {
    let _watchdog = Watchdog::new("other settings", FAR);
    let sup = named("settings", forked(1).env("MODE", "one"));
    assert_eq!(mode::builder().supervisor(&sup).start().join().unwrap(), "one");
    let first = template_of("settings").unwrap();
    sup.set_mp_pool(sup.mp_pool().env("MODE", "two"));
    assert_eq!(mode::builder().supervisor(&sup).start().join().unwrap(), "two");
    eventually(|| Process::is_gone(first));
    sup.set_mp_pool(sup.mp_pool().template(false));
    eventually(|| template_of("settings").is_none());
    assert_eq!(mode::builder().supervisor(&sup).start().join().unwrap(), "two");
}

#[background_task(tt = "mp")]
fn mode() -> String {
    std::env::var("MODE").unwrap()
}

fn draws_ids() {
    init();
    // From here on, this process has a random number for its ids.
    OF_THREAD.set(next_id().to_string().len() as u32);
}

fn next_id() -> TaskId {
    let (context, _other) = TaskContext::<(), ()>::pair();
    context.id()
}

#[background_task(tt = "mp")]
fn id_drawn_here() -> TaskId {
    next_id()
}

#[cfg(not(atasker_portable))]
#[test]
fn ids_of_forked_workers_differ() {
    let _watchdog = Watchdog::new("ids", FAR);
    let sup = supervisor(forked(1).worker_init(draws_ids).max_tasks_per_worker(1));
    let ids: HashSet<TaskId> = (0..20)
        .map(|_| id_drawn_here::builder().supervisor(&sup).start().join().unwrap())
        .collect();
    assert_eq!(ids.len(), 20);
}

fn keeps_memory() {
    init();
    let kept = Vec::<u8>::with_capacity(worker_data::<usize>().copied().unwrap());
    std::mem::forget(std::hint::black_box(kept));
}

/// The limit is for what a worker process adds to its start, which includes `worker_init`.
#[cfg(not(atasker_portable))]
#[test]
fn memory_of_worker_init_counts_for_the_limit() {
    let _watchdog = Watchdog::new("the memory limit", FAR);
    for template in [false, true] {
        let config = forked(1).template(template).memory_limit(256 << 20);
        let sup = supervisor(config.worker_init(keeps_memory).worker_data(&(150_usize << 20)));
        let fits = |bytes| allocate::builder(bytes).supervisor(&sup).start().join().unwrap();
        assert_eq!((fits(60 << 20), fits(120 << 20)), (true, false), "{template}");
    }
}

#[background_task(tt = "mp")]
fn prints(text: &str) {
    println!("{text}");
}

fn prints_at_start() {
    // Buffered until there is a newline, so that a copy could write it again.
    print!("of worker_init, ");
}

/// What `worker_init` has left in a buffer is written once, and not by each worker process.
#[test]
fn buffered_output_is_written_once() {
    let test = "output_of_worker_init";
    let output = atasker_tests::processes::rerun(test).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (written, printed) =
        (text.matches("of worker_init").count(), text.matches("task ").count());
    assert_eq!(printed, 5, "{text}");
    // On other systems, each worker process runs it.
    assert_eq!(written, if cfg!(atasker_portable) { 5 } else { 1 }, "{text}");
}

#[test]
#[ignore = "run by another test in a separate process"]
fn output_of_worker_init() {
    let sup = supervisor(forked(1).worker_init(prints_at_start).max_tasks_per_worker(1));
    for n in 0..5 {
        prints::builder(&format!("task {n}")).supervisor(&sup).start().join().unwrap();
    }
    sup.stop(StopOptions::new());
}

/// The process inherits what the program has when it starts, and not what it had when the template
/// started. In a separate process, because other tests depend on these.
#[cfg(not(atasker_portable))]
#[test]
fn changes_of_the_program_reach_its_workers() {
    let output = atasker_tests::processes::rerun("changed_program").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
}

#[background_task(tt = "mp")]
fn surroundings() -> (String, Option<String>, u64, u32) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a `rlimit`.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    let directory = std::env::current_dir().unwrap().display().to_string();
    let initialized = INITIALIZED.load(Ordering::Relaxed);
    (directory, std::env::var("CHANGED").ok(), limit.rlim_cur, initialized)
}

#[cfg(not(atasker_portable))]
#[test]
#[ignore = "run by another test in a separate process"]
fn changed_program() {
    let sup = supervisor(forked(1).max_tasks_per_worker(1));
    let ask = || surroundings::builder().supervisor(&sup).start().join().unwrap();
    let before = ask();
    let set_limit = |most| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both pointers are to a `rlimit`.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            limit.rlim_cur = most;
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
    };
    std::env::set_current_dir("/").unwrap();
    assert_eq!(ask().0, "/");
    // SAFETY: the test has its own process, and no other thread reads the environment now.
    unsafe { std::env::set_var("CHANGED", "yes") };
    assert_eq!(ask().1.as_deref(), Some("yes"));
    set_limit(before.2 - 1);
    assert_eq!(ask().2, before.2 - 1);
    // And then by a template again.
    eventually(|| {
        let (directory, changed, limit, initialized) = ask();
        assert_eq!((&*directory, changed.as_deref(), limit), ("/", Some("yes"), before.2 - 1));
        template_of("t") == Some(initialized)
    });
}

/// The standard output of the program may be another one than at the start of the template.
#[test]
fn output_follows_that_of_the_program() {
    let output = atasker_tests::processes::rerun("changed_output").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("to the first") && !text.contains("to the second"), "{text}");
}

#[test]
#[ignore = "run by another test in a separate process"]
fn changed_output() {
    use std::io::{Read, Seek};
    use std::os::fd::{AsRawFd, FromRawFd};
    let sup = supervisor(forked(1).max_tasks_per_worker(1));
    prints::builder("to the first").supervisor(&sup).start().join().unwrap();
    // SAFETY: a new descriptor, which nothing else owns.
    let mut file = unsafe { std::fs::File::from_raw_fd(libc::memfd_create(c"output".as_ptr(), 0)) };
    // SAFETY: only the standard output is replaced.
    unsafe { libc::dup2(file.as_raw_fd(), 1) };
    prints::builder("to the second").supervisor(&sup).start().join().unwrap();
    sup.stop(StopOptions::new());
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert!(text.contains("to the second"), "{text}");
}

#[cfg(not(atasker_portable))]
#[test]
fn large_pool_is_forked_at_once() {
    let _watchdog = Watchdog::new("a large pool", FAR);
    let sup = supervisor(forked(32).min_size(32).stdio(WorkerStdio::Log));
    sup.start();
    eventually(|| workers(&sup).len() == 32);
    let tasks: Vec<_> = (0..320).map(|_| facts::builder().supervisor(&sup).start()).collect();
    let template = template_of("t");
    for task in tasks {
        let facts = task.join().unwrap();
        assert_ne!(facts.initialized_by, facts.pid);
    }
    assert!(template.is_some());
    sup.stop(StopOptions::new());
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}
