//! Does a task expire while it waits for its limit, in each place, and is the limit unharmed?

use std::sync::Arc;
use std::time::Duration;

use atasker::{
    KeyedLimit, Limit, MpPoolConfig, Supervisor, Task, TaskBuilder, TaskError, TaskStatus,
    background_task,
};
use atasker_tests::{FAR, Gate, eventually, mp, pool};

const SOON: Duration = Duration::from_millis(20);

/// Takes the limit until the gate is opened.
fn taken(sup: &Supervisor, limit: &Arc<Limit>) -> (Task<()>, Gate) {
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let task = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    });
    let task = task.limit(limit).supervisor(sup).start();
    begun.wait();
    (task, gate)
}

#[track_caller]
fn detail_of<R: Send + 'static>(task: &Task<R>) -> String {
    match task.wait() {
        Err(TaskError::Expired { after, detail }) => {
            assert_eq!((after, task.status()), (SOON, TaskStatus::Completed));
            detail
        }
        other => panic!("did not expire: {:?}", other.err()),
    }
}

#[background_task(tt = "mp")]
fn in_process() -> u32 {
    3
}

/// One builder per place.
fn builders(sup: &Supervisor, limit: &Arc<Limit>) -> [TaskBuilder<u32>; 3] {
    [TaskBuilder::new(|| 1), TaskBuilder::future(async { 2 }), in_process::builder()]
        .map(|builder| builder.limit(limit).supervisor(sup))
}

#[test]
fn task_that_waits_for_its_limit_expires() {
    let sup = pool(4);
    let limit = Arc::new(Limit::concurrency(1));
    let (holder, gate) = taken(&sup, &limit);
    for builder in builders(&sup, &limit) {
        assert_eq!(detail_of(&builder.expires(SOON).start()), "its limit");
    }
    let stay = builders(&sup, &limit).map(|builder| builder.expires(10 * FAR).start());
    assert!(stay.iter().all(|task| task.status() == TaskStatus::Queued));
    gate.open();
    holder.join().unwrap();
    // The limit has room again, in spite of those that left.
    assert_eq!(stay.map(|task| task.join().unwrap()), [1, 2, 3]);
    assert_eq!(builders(&sup, &limit).map(|builder| builder.start().join().unwrap()), [1, 2, 3]);
}

#[test]
fn many_expire_and_the_limit_stays_exact() {
    let sup = pool(8);
    let limit = Arc::new(Limit::concurrency(2));
    let (first, gate) = taken(&sup, &limit);
    let (second, other) = taken(&sup, &limit);
    let expiring: Vec<_> = (0..1_000)
        .map(|n| {
            let after = Duration::from_micros(n * 20);
            TaskBuilder::new(|| ()).limit(&limit).expires(after).supervisor(&sup).start()
        })
        .collect();
    for task in expiring {
        assert!(task.join().unwrap_err().is_expired());
    }
    assert_eq!(sup.info().thread_pool.waiting.normal, 0);
    for (task, gate) in [(first, gate), (second, other)] {
        gate.open();
        task.join().unwrap();
    }
    let both = [taken(&sup, &limit), taken(&sup, &limit)];
    let third = TaskBuilder::new(|| ()).limit(&limit).expires(SOON).supervisor(&sup).start();
    assert_eq!(detail_of(&third), "its limit");
    for (task, gate) in both {
        gate.open();
        task.join().unwrap();
    }
}

#[test]
fn rate_keeps_tokens_of_expired_tasks() {
    let sup = pool(4);
    let limit = Arc::new(Limit::rate(1, Duration::from_secs(3600)).burst(2));
    let start = || TaskBuilder::new(|| 1).limit(&limit).expires(SOON).supervisor(&sup).start();
    let begin = || TaskBuilder::new(|| 1).limit(&limit).supervisor(&sup).start();
    assert_eq!(begin().join().unwrap(), 1);
    assert_eq!(begin().join().unwrap(), 1);
    for _ in 0..3 {
        assert_eq!(detail_of(&start()), "its limit");
    }
}

#[test]
fn task_in_a_busy_pool_waits_for_a_slot() {
    let sup = pool(1);
    let limit = Arc::new(Limit::concurrency(1));
    let (busy, gate) = atasker_tests::occupy(&sup, atasker::Priority::Normal);
    let task = TaskBuilder::new(|| ()).limit(&limit).expires(SOON).supervisor(&sup).start();
    assert_eq!(detail_of(&task), "a slot of the thread pool");
    gate.open();
    busy.join().unwrap();
    let next = TaskBuilder::new(|| 1).limit(&limit).supervisor(&sup).start();
    assert_eq!(next.join().unwrap(), 1, "the expired task has not taken the limit");
}

#[test]
fn later_attempt_that_waits_for_its_limit_does_not_expire() {
    let after = Duration::from_secs(3);
    let sup = pool(4);
    let limit = Arc::new(Limit::concurrency(1));
    let (begun, fail) = (Gate::new(), Gate::new());
    let (begins, fails) = (begun.clone(), fail.clone());
    let mut first = true;
    let retries = TaskBuilder::repeatable(move || {
        begins.open();
        fails.wait();
        assert!(!std::mem::take(&mut first), "the first attempt");
        42
    });
    let retries = retries.retries(1).limit(&limit).expires(after).supervisor(&sup).start();
    begun.wait();
    let gate = Gate::new();
    let waits = gate.clone();
    let next = TaskBuilder::new(move || waits.wait()).limit(&limit);
    let next = next.priority(atasker::Priority::High).supervisor(&sup).start();
    fail.open();
    eventually(|| next.is_started());
    // Launched later, so what expires at all has expired when this has.
    let last = TaskBuilder::new(|| ()).limit(&limit).expires(after).supervisor(&sup).start();
    assert!(last.join().unwrap_err().is_expired());
    assert!(!retries.is_completed());
    gate.open();
    next.join().unwrap();
    assert_eq!(retries.join().unwrap(), 42);
}

static TENANT: KeyedLimit<String> = KeyedLimit::concurrency(1);

#[background_task(tt = "mp", limit = TENANT.key(tenant), unique = (tenant, job), expires = "20ms")]
fn keyed(tenant: &str, job: u32) -> u32 {
    job + tenant.len() as u32
}

#[test]
fn keys_use_the_same_borrowed_parameter() {
    let sup = mp::supervisor(MpPoolConfig::new(2));
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let holder = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    });
    let holder = holder.limit(TENANT.key("a")).start();
    begun.wait();
    let first = keyed::builder("a", 1).expires(10 * FAR).supervisor(&sup).start();
    let found = keyed::builder("a", 1).supervisor(&sup).start_unique();
    assert_eq!(found.unwrap_err().id(), first.id());
    assert_eq!(detail_of(&keyed::builder("a", 2).supervisor(&sup).start()), "its limit");
    let other = keyed::builder("bb", 1).expires(10 * FAR).supervisor(&sup).start();
    assert_eq!(other.join().unwrap(), 3, "another tenant has another limit");
    gate.open();
    holder.join().unwrap();
    assert_eq!(first.join().unwrap(), 2);
}
