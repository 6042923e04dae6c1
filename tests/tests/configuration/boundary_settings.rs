//! Are extreme numbers and names either rejected by the setter or handled as documented? None may
//! panic later or create a pool that never runs a task.

use std::panic::catch_unwind;
use std::time::Duration;

use atasker::{
    EventWorker, IntervalWorker, Job, LoopWorker, MpPoolConfig, Overflow, PoolConfig, QueueWorker,
    StopOptions, Supervisor, Task, TaskBuilder, background_task, bounded,
};
use atasker_tests::{FAR, Watchdog, eventually};

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task(tt = "mp")]
fn variable(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// Asserts that the setter panics with this text.
#[track_caller]
fn refused<T>(setter: impl FnOnce() -> T + std::panic::UnwindSafe, words: &str) {
    let panic = catch_unwind(|| drop(setter())).expect_err("the setter panics");
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    let text = text.expect("the panic has a message");
    assert!(text.contains(words), "{text}");
}

fn end<R: Send + 'static>(task: Task<R>) -> R {
    assert!(task.wait_timeout(FAR).is_ok() || task.is_completed(), "{task:?} did not end");
    task.join().unwrap()
}

/// Asserts that tasks of a thread pool run, sequentially and concurrently, and that a panic is
/// reported.
#[track_caller]
fn threads_run(what: &str, config: PoolConfig) {
    println!("{what}");
    let sup = Supervisor::builder().thread_pool(config).build();
    for n in 0..3 {
        assert_eq!(end(sup.spawn(move || n)), n, "{what}");
    }
    assert!(sup.spawn(|| panic!("reported")).join().map(drop).unwrap_err().is_panic(), "{what}");
    sup.stop(StopOptions::new());
}

fn processes_run(what: &str, config: MpPoolConfig) {
    println!("{what}");
    let sup = Supervisor::builder().mp_pool(config).build();
    for n in 0..3 {
        assert_eq!(end(double::builder(n).supervisor(&sup).start()), 2 * n, "{what}");
    }
    sup.stop(StopOptions::new());
}

#[test]
fn thread_pool_boundaries() {
    let _watchdog = Watchdog::new("boundary settings of thread pools", 3 * FAR);
    refused(|| PoolConfig::new(1).max_size(0), "would never run a task");
    refused(|| PoolConfig::new(1).min_size(usize::MAX), "`min_size` of a pool is at most");
    refused(|| PoolConfig::new(1).stack_size(usize::MAX), "exceeds the address space");
    let most = usize::MAX;
    for (what, config) in [
        ("no limit", PoolConfig::new(0)),
        ("the largest pool", PoolConfig::new(most)),
        ("the largest reserves", PoolConfig::new(most).reserve_normal(most).reserve_high(most)),
        ("more reserves than fit", PoolConfig::new(1).reserve_normal(most).reserve_high(most)),
        ("a maximum of one", PoolConfig::new(0).max_size(1)),
        ("the largest maximum", PoolConfig::new(1).max_size(most)),
        ("a min_size above the pool size", PoolConfig::new(1).min_size(3)),
        ("no stack", PoolConfig::new(1).stack_size(0)),
        ("a stack of one byte", PoolConfig::new(1).stack_size(1)),
        ("an unaligned stack size", PoolConfig::new(1).stack_size((1 << 20) + 1)),
        ("no time", PoolConfig::new(1).idle_timeout(Duration::ZERO)),
        ("all time", PoolConfig::new(1).idle_timeout(Duration::MAX)),
        ("no queue, reject", PoolConfig::new(2).queue_limit(0, Overflow::Reject)),
        ("no queue, block", PoolConfig::new(1).queue_limit(0, Overflow::Block)),
        ("the longest queue", PoolConfig::new(1).queue_limit(most, Overflow::Block)),
    ] {
        if what == "no queue, reject" {
            // Each task ends before the next launch; its slot may become free slightly later.
            let sup = Supervisor::builder().thread_pool(config).build();
            assert_eq!(end(sup.spawn(|| 1)), 1);
            eventually(|| sup.spawn(|| 2).join().is_ok());
            continue;
        }
        threads_run(what, config);
    }
}

#[test]
fn worker_pool_boundaries() {
    let _watchdog = Watchdog::new("boundary settings of worker pools", 3 * FAR);
    let config = || MpPoolConfig::new(1);
    refused(|| MpPoolConfig::new(1).min_size(usize::MAX), "`min_size` of a pool is at most");
    refused(|| MpPoolConfig::new(1).env("", "x"), "can't be the name of an environment variable");
    refused(|| MpPoolConfig::new(1).env("A=B", "x"), "can't be the name of an environment");
    refused(|| MpPoolConfig::new(1).env("=A", "x"), "can't be the name of an environment");
    refused(|| MpPoolConfig::new(1).env("A\0B", "x"), "can't be the name of an environment");
    refused(|| MpPoolConfig::new(1).env("A", "x\0y"), "`A` can't hold a NUL");
    for (what, config) in [
        ("no limit", MpPoolConfig::new(0)),
        ("the largest pool", MpPoolConfig::new(usize::MAX).reserve_high(usize::MAX)),
        ("the largest critical_extra", config().critical_extra(usize::MAX)),
        ("no limit of tasks per worker", config().max_tasks_per_worker(0)),
        ("one task each", config().max_tasks_per_worker(1)),
        ("no limit of memory", config().memory_limit(0)),
        ("the largest limit of memory", config().memory_limit(u64::MAX)),
        ("a nice value above the maximum", config().nice(100)),
        ("the largest nice value", config().nice(i32::MAX)),
        ("no queue, block", config().queue_limit(0, Overflow::Block)),
        ("no bytes, block", config().queue_bytes(0, Overflow::Block)),
        ("no bytes, reject", config().queue_bytes(0, Overflow::Reject)),
        ("all bytes", config().queue_bytes(u64::MAX, Overflow::Reject)),
        ("no time", config().idle_timeout(Duration::ZERO)),
    ] {
        processes_run(what, config);
    }
    // The first task finds a slot, even without a worker process.
    let none = config().queue_limit(0, Overflow::Reject);
    let sup = Supervisor::builder().mp_pool(none).build();
    assert_eq!(end(double::builder(4).supervisor(&sup).start()), 8);
    // The system's limit for names and values.
    for (key, value) in [("ODD KEY", ""), ("ключ", "знач\nение"), ("K", "a=b")] {
        let sup = Supervisor::builder().mp_pool(config().env(key, value)).build();
        let found = variable::builder(key).supervisor(&sup).start();
        assert_eq!(end(found).as_deref(), Some(value), "{key}");
    }
}

/// Names of every kind.
fn names() -> Vec<String> {
    let long = "n".repeat(1 << 20);
    let short =
        ["", "\0", "a\0b", "\n", "a\nb\r\t", " ", "ü", "名前", "{}", "%s", "..", "/", "a=b"];
    short.into_iter().map(ToOwned::to_owned).chain([long]).collect()
}

#[test]
fn id_and_name_boundaries() {
    let _watchdog = Watchdog::new("odd names", 3 * FAR);
    for name in names() {
        let shown: String = name.chars().take(20).collect();
        println!("{shown:?}");
        let sup = Supervisor::builder().id(&*name).mp_pool(MpPoolConfig::new(1)).build();
        assert_eq!(end(sup.spawn(|| 1)), 1);
        assert_eq!(end(double::builder(2).supervisor(&sup).start()), 4);
        assert_eq!(sup.info().id, sup.id());

        let task = TaskBuilder::new(|| 3).name(name.clone()).supervisor(&sup).start();
        assert_eq!(task.info().name, name);
        assert_eq!(end(task), 3);
        let named = double::builder(5).name(name.clone()).supervisor(&sup).start();
        assert_eq!(end(named), 10);

        for aloop in [sup.create_aloop(&name), sup.create_aloop_multi(&format!("{name}2"), 2)] {
            assert_eq!(end(aloop.spawn(async { 4 })), 4);
            assert_eq!(sup.aloop(aloop.name()).unwrap().name(), aloop.name());
        }
        assert_eq!(sup.aloop(&name).unwrap().name(), name);
        sup.set_default_aloop(&name);
        assert_eq!(end(sup.spawn_async(async { 5 })), 5);

        let job = sup.create_job(Job::once(Duration::ZERO).name(&*name), || ());
        assert_eq!(job.name(), name);
        let on_loop = sup.create_job(Job::once(Duration::ZERO).aloop(&*name), || async {});
        eventually(|| job.runs() == 1 && on_loop.runs() == 1);
        let worker = EventWorker::builder().name(&*name).supervisor(&sup).run(|_| ());
        let looping = LoopWorker::builder().name(&*name).supervisor(&sup).run(|_| false);
        assert!(worker.start() && looping.start());
        assert!(worker.trigger());
        eventually(|| worker.runs() == 1 && looping.runs() == 1);
        worker.stop();
        sup.stop(StopOptions::new());
    }
}

#[test]
fn aloop_job_and_worker_boundaries() {
    let sup = Supervisor::builder().build();
    refused(
        || Supervisor::builder().build().create_aloop_multi("huge", usize::MAX),
        "an aloop has at most",
    );
    assert_eq!(end(sup.create_aloop_multi("none", 0).spawn(async { 1 })), 1);

    let never = sup.create_job(Job::every(Duration::ZERO).times(0), || unreachable!());
    eventually(|| !never.is_active());
    let always = sup.create_job(Job::every(Duration::ZERO), || ());
    eventually(|| always.runs() > 100);
    always.cancel();
    let many = sup.create_job(Job::every(Duration::ZERO).times(u64::MAX), || ());
    eventually(|| many.runs() > 100);
    many.cancel();
    let at_once = IntervalWorker::builder(Duration::ZERO).supervisor(&sup).run(|_| ());
    let no_pause = IntervalWorker::with_delay(Duration::ZERO).supervisor(&sup).run(|_| ());
    assert!(at_once.start() && no_pause.start());
    eventually(|| at_once.runs() > 100 && no_pause.runs() > 100);
    at_once.stop();
    no_pause.stop();

    refused(|| QueueWorker::<u8>::builder().queue_limit(0), "would never accept an item");
    let queue = QueueWorker::builder().queue_limit(usize::MAX).supervisor(&sup);
    let queue = queue.run(|_, item: u8| assert_eq!(item, 1));
    queue.start();
    queue.put(1).unwrap();
    eventually(|| queue.runs() == 1 && queue.is_empty());
    queue.stop();
}

#[test]
fn task_boundaries() {
    let sup = Supervisor::builder().build();
    for n in [0, usize::MAX] {
        let builders = (0..5).map(|n| TaskBuilder::new(move || n));
        assert_eq!(bounded(n, builders).count(), 5);
    }
    let zero = Duration::ZERO;
    let task = TaskBuilder::new(|| 1).delay(zero).retry_delay(zero).retries(0).supervisor(&sup);
    assert_eq!(end(task.start()), 1);
    let mut runs = 0;
    let often = TaskBuilder::repeatable(move || {
        runs += 1;
        runs
    });
    let often = often.retries(u32::MAX).retry_if(|runs| *runs < 5).supervisor(&sup);
    assert_eq!(end(often.start()), 5);
    // A zero limit has expired, unless the task is faster.
    let limited = TaskBuilder::new(|| ()).timeout(zero).supervisor(&sup).start();
    assert!(limited.join().map_or_else(|error| error.is_timeout(), |()| true));
    let report = sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert_eq!(report.abandoned, 0);
}
