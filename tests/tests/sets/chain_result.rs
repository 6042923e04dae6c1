//! Does a chained task run with the result of the first, and otherwise end as the first one?

use std::future::pending;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use atasker::{
    MpPoolConfig, Observer, Outcome, Overflow, PoolConfig, Priority, Supervisor, Task, TaskBuilder,
    TaskContext, TaskError, TaskEvent, TaskId, TaskStatus, TaskType, background_task, supervisor,
};
use atasker_tests::{Gate, eventually, mp, occupy, pool, pool_with};
use futures_lite::future::block_on;

use crate::{Drops, crashes, doubles, gated};

/// Chains a function that must not run, and returns the error with which the chained task ends.
fn ends_as<R: Send + 'static>(first: Task<R>) -> TaskError {
    let (drops, found) = (Drops::default(), first.to_ref());
    let guard = drops.guard();
    let chained = first.chain(move |_| -> u32 {
        let _guard = guard;
        unreachable!("the first one has not ended well");
    });
    let error = chained.wait().unwrap_err();
    assert_eq!(Some(&error), found.error(), "it is the same error");
    assert_eq!(drops.count(), 1, "the function was dropped");
    assert!(!chained.is_started() && chained.info().time_started.is_none());
    assert_eq!(chained.status(), found.status());
    error
}

fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn function_gets_result_of_every_place() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    let in_pool = |name: String| assert!(name.starts_with("supervisor_t_pool"), "{name}");
    let (n, name) = sup.spawn(|| 1).chain(|n| (n + 1, thread_name())).join().unwrap();
    assert_eq!(n, 2);
    in_pool(name);
    let (n, name) = sup.spawn_async(async { 2 }).chain(|n| (n + 1, thread_name())).join().unwrap();
    assert_eq!(n, 3);
    in_pool(name);
    let first = doubles::builder(4).supervisor(&sup).start();
    let (n, name) = first.chain(|n| (n + 1, thread_name())).join().unwrap();
    assert_eq!(n, 9);
    in_pool(name);
    // Also awaited, and on an aloop.
    let last = sup.spawn_async(async { 2 }).chain(|n| n * 3).chain(|n| n.to_string());
    assert_eq!(sup.create_aloop("other").run(last).unwrap(), "6");
}

#[test]
fn error_is_passed_on() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    assert!(ends_as(sup.spawn(|| -> u32 { panic!("by chance") })).is_panic());
    assert!(ends_as(sup.spawn_async(async { panic!("by chance") })).is_panic());
    assert!(ends_as(crashes::builder().supervisor(&sup).start()).is_worker_died());
    let limited = TaskBuilder::future(pending::<u32>()).timeout(Duration::from_millis(1));
    assert!(ends_as(limited.supervisor(&sup).start()).is_timeout());
    let canceled = TaskBuilder::new(|| 1).delay(Duration::from_secs(600)).supervisor(&sup).start();
    assert!(canceled.cancel());
    assert!(ends_as(canceled).is_canceled());
}

#[test]
fn error_of_running_task_is_passed_on() {
    let sup = pool(2);
    let gate = Gate::new();
    let waits = gate.clone();
    let first = sup.spawn(move || -> u32 {
        waits.wait();
        panic!("in the end")
    });
    let drops = Drops::default();
    let guard = drops.guard();
    let chained = first.chain(move |_| drop(guard));
    let (last, other) = (chained.to_ref(), chained.chain(|()| 1));
    assert_eq!((drops.count(), last.status()), (0, TaskStatus::Delayed));
    gate.open();
    let error = other.join().unwrap_err();
    assert!(error.to_string().contains("in the end"), "{error}");
    assert_eq!((last.error(), drops.count()), (Some(&error), 1));
}

#[test]
fn chained_task_is_like_first() {
    let sup = pool(2);
    let gate = Gate::new();
    let waits = gate.clone();
    let builder = TaskBuilder::new(move || waits.wait());
    let first = builder.name(String::from("at run time")).priority(Priority::High);
    let first = first.supervisor(&sup).start();
    let chained = first.chain(|()| ());
    assert_eq!((chained.name(), chained.priority()), ("at run time", Priority::High));
    assert_eq!((chained.tt(), chained.status()), (TaskType::Thread, TaskStatus::Delayed));
    let info = chained.info();
    assert_eq!((info.delay, info.attempt, info.outcome, info.time_started), (None, 0, None, None));
    assert_eq!(sup.tasks().iter().filter(|task| task.name == "at run time").count(), 2);
    assert_eq!(sup.task(chained.id()).unwrap().id(), chained.id());
    gate.open();
    chained.wait().unwrap();
    let info = chained.info();
    assert!(
        info.time_queued == chained.time_queued() && Some(info.time_queued) <= info.time_started
    );
    assert_eq!((info.attempt, info.outcome), (1, Some(Outcome::Ok)));

    let second = TaskBuilder::new(|| ()).name("static").priority(Priority::Low).start();
    let second = second.chain(|()| ());
    assert_eq!((second.name(), second.priority()), ("static", Priority::Low));
    second.join().unwrap();
}

/// Sends how long each task waited in the queue.
struct QueuedFor(mpsc::Sender<(TaskId, Option<Duration>)>);

impl Observer for QueuedFor {
    fn started(&self, task: &TaskEvent<'_>) {
        self.0.send((task.id(), task.queued_for())).unwrap();
    }
}

#[test]
fn time_in_queue_begins_with_end_of_first() {
    let sup = pool(1);
    let (first, gate) = gated(&sup);
    let (sender, started) = mpsc::channel();
    let _guard = sup.observe(QueuedFor(sender));
    let chained = first.chain(|_| ());
    let launched = Instant::now();
    std::thread::yield_now();
    let delayed = launched.elapsed();
    gate.open();
    chained.wait().unwrap();
    let (id, queued_for) = started.recv().unwrap();
    let info = chained.info();
    let total = info.time_started.unwrap().duration_since(info.time_queued).unwrap();
    assert_eq!(id, chained.id());
    assert!(queued_for.unwrap() + delayed <= total, "{queued_for:?} {delayed:?} {total:?}");
}

#[test]
fn ended_task_is_chained() {
    let sup = pool(1);
    let first = sup.spawn(|| vec![1, 2]);
    first.wait().unwrap();
    assert_eq!(first.chain(|list| list.len()).join().unwrap(), 2);
}

#[test]
fn returned_err_is_a_result() {
    let sup = pool(1);
    let first = sup.spawn(|| "many".parse::<u8>());
    assert!(first.chain(|result| result.is_err()).join().unwrap());
}

#[test]
fn try_chain_continues_with_ok() {
    let sup = pool(1);
    let parse = |text: &'static str| sup.spawn(move || text.parse::<u8>().map_err(drop));
    let double = |n: u8| n.checked_mul(2).ok_or(());
    assert_eq!(parse("21").try_chain(double).join().unwrap(), Ok(42));
    assert_eq!(parse("21").try_chain(double).try_chain(double).join().unwrap(), Ok(84));
    assert_eq!(parse("200").try_chain(double).join().unwrap(), Err(()));
    let drops = Drops::default();
    let guard = drops.guard();
    let skipped = parse("many").try_chain(move |n| {
        let _guard = guard;
        double(n)
    });
    assert_eq!((skipped.wait().unwrap(), drops.count()), (&Err(()), 1));
    assert_eq!(skipped.info().outcome, Some(Outcome::ReturnedErr));
    let failed = sup.spawn(|| -> Result<u8, ()> { panic!("no text") }).try_chain(double);
    assert!(failed.join().unwrap_err().is_panic());
}

#[test]
fn panic_of_function_is_the_error() {
    let sup = pool(1);
    let error = sup.spawn(|| 1).chain(|n: i32| -> i32 { panic!("at {n}") }).join().unwrap_err();
    assert!(error.to_string().contains("at 1"), "{error}");
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn panicking_destructors_change_nothing() {
    let sup = pool(1);
    let bomb = Bomb;
    let chained = sup.spawn(|| -> u32 { panic!("first") }).chain(move |_| drop(bomb));
    assert!(chained.join().unwrap_err().to_string().contains("first"));
    // The result of the first is dropped with a chained task that is canceled.
    let (task, gate) = gated(&sup);
    let (first, bomb) = (sup.spawn(|| Bomb), Bomb);
    let chained = first.chain(move |_| drop(bomb));
    assert!(chained.cancel());
    assert!(chained.join().unwrap_err().is_canceled());
    gate.open();
    task.join().unwrap();
    assert_eq!(sup.spawn(|| 5).join().unwrap(), 5);
}

#[test]
fn chained_task_waits_for_slot() {
    let sup = pool(1);
    let (first, gate) = gated(&sup);
    let chained = first.chain(|n| n + 1);
    let other = sup.spawn(|| 1);
    // It holds no slot while it is delayed, and is queued after what waits then.
    assert_eq!(sup.info().thread_pool.waiting.total(), 1);
    gate.open();
    other.join().unwrap();
    assert_eq!(chained.join().unwrap(), 8);

    let first = sup.spawn_async(async { 1 });
    first.wait().unwrap();
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let chained = first.chain(|n| n + 1);
    assert_eq!(chained.status(), TaskStatus::Queued);
    gate.open();
    assert_eq!(chained.join().unwrap(), 2);
    busy.join().unwrap();
}

#[test]
fn full_queue_admits_or_rejects_chained_task() {
    for (overflow, admits) in [(Overflow::Block, true), (Overflow::Reject, false)] {
        let sup = pool_with(PoolConfig::new(1).queue_limit(1, overflow));
        let (busy, gate) = occupy(&sup, Priority::Normal);
        let waiting = sup.spawn(|| ());
        let chained = sup.spawn_async(async { 1 }).chain(|n| n + 1);
        let settled = || chained.status() != TaskStatus::Delayed;
        eventually(settled);
        assert_eq!(chained.status() == TaskStatus::Queued, admits);
        gate.open();
        match chained.join() {
            Ok(n) => assert!(admits && n == 2),
            Err(error) => assert!(!admits && error == TaskError::QueueFull, "{error}"),
        }
        busy.join().unwrap();
        waiting.join().unwrap();
    }
}

/// A value whose clone waits at a gate.
struct SlowClone {
    begins: Gate,
    gate: Gate,
}

impl Clone for SlowClone {
    fn clone(&self) -> Self {
        self.begins.open();
        self.gate.wait();
        SlowClone { begins: self.begins.clone(), gate: self.gate.clone() }
    }
}

#[test]
fn chained_task_waits_for_clone_of_result() {
    let sup = pool(1);
    let (begins, gate) = (Gate::new(), Gate::new());
    let value = SlowClone { begins: begins.clone(), gate: gate.clone() };
    let first = sup.spawn(move || value);
    first.wait().unwrap();
    let found = first.to_ref();
    std::thread::scope(|scope| {
        scope.spawn(|| found.result_cloned::<SlowClone>().unwrap().unwrap());
        begins.wait();
        let chained = first.chain(|_| 3);
        // It takes no slot meanwhile, although the first one has ended.
        assert_eq!(sup.spawn(|| 5).join().unwrap(), 5);
        assert_eq!(chained.status(), TaskStatus::Delayed);
        gate.open();
        assert_eq!(chained.join().unwrap(), 3);
    });
    assert!(found.result_cloned::<SlowClone>().is_none(), "the result was moved out");
}

#[test]
fn taken_result_is_an_error() {
    let sup = pool(1);
    let mut first = sup.spawn(|| 1);
    assert_eq!(block_on(&mut first).unwrap(), 1);
    let error = first.chain(|n| n + 1).join().unwrap_err();
    assert!(error.to_string().contains("taken by an earlier `.await`"), "{error}");
}

#[test]
fn polled_task_is_chained() {
    let sup = pool(1);
    let (mut first, gate) = gated(&sup);
    assert!(block_on(futures_lite::future::poll_once(&mut first)).is_none());
    let chained = first.chain(|n| n + 1);
    gate.open();
    assert_eq!(chained.join().unwrap(), 8);
}

#[background_task(tt = "mp")]
fn sends_until_refused(ctx: &TaskContext<u8, u64>) -> u64 {
    (0..).take_while(|n| ctx.send(*n).is_ok()).count() as u64
}

#[test]
fn messages_of_first_task_are_rejected() {
    // More than a channel holds, so a receiver that is only silent would block the task.
    let sup = mp::supervisor(MpPoolConfig::new(1));
    let many = |ctx: &TaskContext<u8, u64>| (0..).take_while(|n| ctx.send(*n).is_ok()).count();
    let first = TaskBuilder::with_context(many).supervisor(&sup).start();
    assert!(first.chain(|count| count <= 1024).join().unwrap());
    let first = sends_until_refused::builder().supervisor(&sup).start();
    assert_eq!(first.recv().unwrap(), 0);
    first.chain(|_| ()).join().unwrap();
}

#[test]
fn detached_chain_goes_on() {
    let sup = pool(1);
    let (first, gate) = gated(&sup);
    let (tx, rx) = std::sync::mpsc::channel();
    first.chain(move |n| tx.send(n)).detach();
    gate.open();
    assert_eq!(rx.recv().unwrap(), 7);
}

#[background_task(tt = "mp")]
fn chains_inside(n: u32) -> Result<u32, String> {
    let chained = supervisor().spawn(move || n).chain(|n| n + 1);
    let chained = chained.chain(|n| doubles(n).join().unwrap());
    chained.join().map_err(|error| error.to_string())
}

#[test]
fn tasks_are_chained_in_worker_process() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    let outer = chains_inside::builder(4).supervisor(&sup).start();
    assert_eq!(outer.try_chain(|n| Ok(n + 1)).join().unwrap(), Ok(11));
}

#[test]
fn task_waits_for_chain_in_pool_of_one() {
    let sup = pool(1);
    let inner = sup.clone();
    let outer = sup.spawn(move || {
        let chained = inner.spawn(|| 1).chain(|n| n + 1).chain(|n| n + 1);
        chained.join().unwrap()
    });
    assert_eq!(outer.join().unwrap(), 3);
}

#[test]
fn chain_of_any_length_ends() {
    const LENGTH: u64 = 20_000;
    let sup: Supervisor = pool(2);
    for fails in [false, true] {
        let (first, gate) = gated(&sup);
        let mut chained = first.chain(move |_| {
            assert!(!fails, "the first link fails");
            0
        });
        for _ in 0..LENGTH {
            chained = chained.chain(|n: u64| n + 1);
        }
        gate.open();
        match chained.join() {
            Ok(n) => assert!(!fails && n == LENGTH),
            Err(error) => assert!(fails && error.is_panic()),
        }
    }
    // Canceled from its end.
    let (first, gate) = gated(&sup);
    let first = (0..LENGTH).fold(first, |chained, _| chained.chain(|n| n + 1));
    assert!(first.cancel());
    gate.open();
    eventually(|| sup.tasks().is_empty());
}
