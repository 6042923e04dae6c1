//! When does a task expire, and what happens to it then?

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use atasker::{
    Observer, Outcome, Overflow, PoolConfig, Priority, StopOptions, Supervisor, Task, TaskBuilder,
    TaskError, TaskEvent, TaskStatus, background, background_task,
};
use atasker_tests::{FAR, Gate, Watchdog, eventually, occupy, pool, pool_with};

const SOON: Duration = Duration::from_millis(20);

/// Long enough for a task to begin, also on a busy machine.
const LATER: Duration = Duration::from_secs(3);

/// Starts a task that expires soon, unless it begins.
fn expiring(sup: &Supervisor) -> Task<u32> {
    TaskBuilder::new(|| 42).expires(SOON).supervisor(sup).start()
}

#[track_caller]
fn detail_of<R: Send + 'static>(task: &Task<R>, expected: Duration) -> String {
    match task.wait() {
        Err(TaskError::Expired { after, detail }) => {
            assert_eq!(after, expected);
            detail
        }
        other => panic!("did not expire: {:?}", other.err()),
    }
}

#[test]
fn queued_task_expires_and_never_runs() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let argument = Arc::new(());
    let ran = Arc::new(AtomicU32::new(0));
    let (held, runs) = (Arc::clone(&argument), Arc::clone(&ran));
    let (told, tells) = mpsc::channel();
    let task = TaskBuilder::new(move || {
        let _held = held;
        runs.fetch_add(1, Ordering::SeqCst);
    })
    .expires(SOON)
    .on_complete(move |result| told.send(result.clone()).unwrap())
    .supervisor(&sup)
    .start();
    assert_eq!(detail_of(&task, SOON), "a slot of the thread pool");
    assert_eq!(Arc::strong_count(&argument), 1, "the arguments are dropped before the end");
    assert!(tells.recv().unwrap().unwrap_err().is_expired());
    let error = task.error().unwrap();
    assert!(error.is_expired() && !error.is_timeout() && !error.is_canceled());
    assert!(error.to_string().contains("a slot of the thread pool"), "{error}");
    let info = task.info();
    assert_eq!((info.status, info.attempt), (TaskStatus::Completed, 0));
    assert_eq!((info.outcome, info.time_started), (Some(Outcome::Failed), None));
    gate.open();
    busy.join().unwrap();
    sup.stop(StopOptions::new());
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    assert_eq!(sup.info().thread_pool.failed, 1);
}

#[test]
fn task_that_begins_in_time_does_not_expire() {
    let sup = pool(1);
    let begun = TaskBuilder::new(|| 42).expires(FAR).supervisor(&sup).start();
    assert_eq!(begun.join().unwrap(), 42);
}

#[test]
fn later_attempt_does_not_expire() {
    let sup = pool(1);
    let (begun, fail) = (Gate::new(), Gate::new());
    let (begins, fails) = (begun.clone(), fail.clone());
    let mut first = true;
    let retries = TaskBuilder::repeatable(move || {
        begins.open();
        fails.wait();
        assert!(!std::mem::take(&mut first), "the first attempt");
        42
    });
    let retries = retries.retries(1).expires(LATER).supervisor(&sup).start();
    begun.wait();
    // Takes the slot after the first attempt, and before the second one.
    let gate = Gate::new();
    let waits = gate.clone();
    let busy = TaskBuilder::new(move || waits.wait()).priority(Priority::High);
    let busy = busy.supervisor(&sup).start();
    fail.open();
    eventually(|| busy.is_started());
    // Launched later, so what expires at all has expired when this has.
    let last = TaskBuilder::new(|| ()).expires(LATER).supervisor(&sup).start();
    detail_of(&last, LATER);
    assert!(!retries.is_completed());
    gate.open();
    busy.join().unwrap();
    assert_eq!(retries.join().unwrap(), 42);
}

#[test]
fn running_task_does_not_expire() {
    let sup = pool(1);
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let runs = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    });
    let runs = runs.expires(LATER).supervisor(&sup).start();
    begun.wait();
    let last = TaskBuilder::new(|| ()).expires(LATER).supervisor(&sup).start();
    detail_of(&last, LATER);
    gate.open();
    runs.join().unwrap();
}

#[test]
fn delay_is_not_counted() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let hour = Duration::from_secs(3600);
    let delayed = TaskBuilder::new(|| ()).delay(hour).expires(SOON).supervisor(&sup).start();
    // The time of this one is over as well when the next one expires.
    detail_of(&expiring(&sup), SOON);
    assert_eq!(delayed.status(), TaskStatus::Delayed);
    assert!(delayed.cancel());
    let task = TaskBuilder::new(|| ()).delay(SOON).expires(SOON).supervisor(&sup).start();
    assert_eq!(detail_of(&task, SOON), "a slot of the thread pool");
    gate.open();
    busy.join().unwrap();
}

#[test]
fn blocked_launch_ends_when_its_task_expires() {
    let _watchdog = Watchdog::new("a blocked launch of a task that expires", FAR);
    let sup = pool_with(PoolConfig::new(1).queue_limit(1, Overflow::Block));
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let queued = sup.spawn(|| ());
    let task = expiring(&sup);
    assert_eq!(detail_of(&task, SOON), "room in the queue of the thread pool");
    assert_eq!(queued.status(), TaskStatus::Queued);
    gate.open();
    queued.join().unwrap();
    busy.join().unwrap();
}

#[test]
fn thousands_of_tasks_expire_in_order() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let start = |ms| {
        let after = Duration::from_millis(ms);
        TaskBuilder::new(|| ()).expires(after).supervisor(&sup).start()
    };
    // Those that expire first are launched last.
    let tasks: Vec<_> = (0..3_000).map(|n| start(30 - n / 100)).collect();
    let stays = TaskBuilder::new(|| ()).expires(10 * FAR).supervisor(&sup).start();
    for task in &tasks {
        assert!(task.wait().unwrap_err().is_expired());
    }
    assert_eq!(stays.status(), TaskStatus::Queued);
    assert_eq!(sup.info().thread_pool.waiting.normal, 1);
    gate.open();
    stays.join().unwrap();
    busy.join().unwrap();
}

#[test]
fn arguments_that_panic_when_dropped_harm_nothing() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a destructor");
        }
    }
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let bomb = Bomb;
    let task = TaskBuilder::new(move || drop(bomb)).expires(SOON).supervisor(&sup).start();
    let other = expiring(&sup);
    assert!(task.join().unwrap_err().is_expired());
    assert!(other.join().unwrap_err().is_expired());
    gate.open();
    busy.join().unwrap();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn slow_destructor_does_not_hold_up_the_timer() {
    struct Slow(Gate);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.wait();
        }
    }
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let dropped = Gate::new();
    let slow = Slow(dropped.clone());
    let task = TaskBuilder::new(move || drop(slow)).expires(SOON).supervisor(&sup).start();
    // Expires, and with it the timer runs, while the first one is being dropped.
    let another = pool(1);
    let (busier, wider) = occupy(&another, Priority::Normal);
    detail_of(&TaskBuilder::new(|| ()).expires(2 * SOON).supervisor(&another).start(), 2 * SOON);
    assert!(!task.is_completed());
    dropped.open();
    assert!(task.join().unwrap_err().is_expired());
    for (task, gate) in [(busy, gate), (busier, wider)] {
        gate.open();
        task.join().unwrap();
    }
}

/// What observers are told, by task.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<&'static str>>>);

impl Observer for Told {
    fn launched(&self, event: &TaskEvent<'_>) {
        if event.name() == "seen" {
            self.0.lock().unwrap().push("launched");
        }
    }
    fn started(&self, event: &TaskEvent<'_>) {
        if event.name() == "seen" {
            self.0.lock().unwrap().push("started");
        }
    }
    fn ended(&self, event: &TaskEvent<'_>, result: Result<(), &TaskError>) {
        if event.name() == "seen" {
            assert!(result.unwrap_err().is_expired());
            assert_eq!(event.outcome(), Some(Outcome::Failed));
            assert_eq!((event.queued_for(), event.ran_for()), (None, None));
            self.0.lock().unwrap().push("ended");
        }
    }
}

#[test]
fn observers_are_told_of_the_end() {
    let sup = pool(1);
    let told = Told::default();
    sup.observe(told.clone()).keep();
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = TaskBuilder::new(|| ()).name("seen").expires(SOON).supervisor(&sup).start();
    detail_of(&task, SOON);
    assert_eq!(*told.0.lock().unwrap(), ["launched", "ended"]);
    gate.open();
    busy.join().unwrap();
}

#[background_task(expires = "20ms")]
fn on_thread() -> u32 {
    42
}

#[background_task(expires = FAR)]
async fn on_loop() -> u32 {
    42
}

#[test]
fn key_sets_expiry() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    detail_of(&on_thread::builder().supervisor(&sup).start(), SOON);
    let call = background!(on_thread::call(), expires = "20ms", supervisor = &sup);
    detail_of(&call, SOON);
    gate.open();
    busy.join().unwrap();
    assert_eq!(on_loop().join().unwrap(), 42);
}

#[test]
fn supervisor_stops_after_tasks_have_expired() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = expiring(&sup);
    let stopping = {
        let sup = sup.clone();
        std::thread::spawn(move || sup.stop(StopOptions::new()))
    };
    // It drains, and the task expires nevertheless.
    assert!(task.join().unwrap_err().is_expired());
    gate.open();
    stopping.join().unwrap();
    busy.join().unwrap();
    eventually(|| sup.tasks().is_empty());
}
