//! What is an observer told about tasks, in which order, on which thread?

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{
    Observer, Outcome, Overflow, PoolConfig, Priority, StopOptions, TaskBuilder, TaskError,
    TaskEvent, TaskType, background_task, wait_completed,
};
use atasker_tests::{Gate, occupy, pool, pool_with};

use crate::recorder::Recorder;

#[test]
fn thread_task_is_launched_started_and_ended() {
    let sup = pool(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let task = sup.spawn(|| 42);
    let id = task.id();
    assert_eq!(task.join().unwrap(), 42);
    // The end is told before the outcome is visible.
    let calls = recorder.of(id);
    assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
    let [launched, started, ended] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((launched.attempt, launched.queued_for, launched.outcome), (0, None, None));
    assert_eq!((started.attempt, started.outcome), (1, None));
    assert!(started.queued_for.is_some() && started.ran_for.is_none());
    assert_eq!((ended.attempt, ended.outcome, &ended.error), (1, Some(Outcome::Ok), &None));
    assert!(ended.ran_for.is_some() && ended.queued_for == started.queued_for);
}

#[test]
fn event_describes_its_task() {
    struct Checks(Arc<AtomicUsize>);
    impl Observer for Checks {
        fn launched(&self, task: &TaskEvent<'_>) {
            assert_eq!((task.name(), task.supervisor()), ("observed", "t"));
            assert_eq!((task.tt(), task.priority()), (TaskType::Thread, Priority::High));
            let info = task.info();
            assert_eq!((info.id, &*info.name), (task.id(), "observed"));
            assert!(format!("{task:?}").contains("observed"));
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn ended(&self, task: &TaskEvent<'_>, _: Result<(), &TaskError>) {
            assert_eq!(task.info().outcome, Some(Outcome::Ok));
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let sup = pool(1);
    let checked = Arc::new(AtomicUsize::new(0));
    let _guard = sup.observe(Box::new(Checks(Arc::clone(&checked))));
    let task = TaskBuilder::new(|| ()).name("observed").priority(Priority::High);
    task.supervisor(&sup).start().join().unwrap();
    assert_eq!(checked.load(Ordering::Relaxed), 2);
}

#[test]
fn launch_is_told_on_the_launching_thread() {
    struct Thread(Mutex<Option<std::thread::ThreadId>>);
    impl Observer for Thread {
        fn launched(&self, _: &TaskEvent<'_>) {
            *self.0.lock().unwrap() = Some(std::thread::current().id());
        }
    }
    let sup = pool(1);
    let observer = Arc::new(Thread(Mutex::default()));
    let _guard = sup.observe(Arc::clone(&observer));
    let task = sup.spawn(|| ());
    assert_eq!(*observer.0.lock().unwrap(), Some(std::thread::current().id()));
    task.join().unwrap();
}

#[test]
fn rejected_launch_is_launched_and_ended() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Reject));
    let (occupying, gate) = occupy(&sup, Priority::Normal);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let full = sup.spawn(|| ());
    let id = full.id();
    assert_eq!(full.join(), Err(TaskError::QueueFull));
    gate.open();
    occupying.join().unwrap();
    sup.stop(StopOptions::new());
    let stopped = sup.spawn(|| ());
    let stopped_id = stopped.id();
    assert_eq!(stopped.join(), Err(TaskError::SupervisorStopped));
    for (id, error) in [(id, TaskError::QueueFull), (stopped_id, TaskError::SupervisorStopped)] {
        assert_eq!(recorder.stages(id), ["launched", "ended"]);
        assert_eq!(recorder.of(id)[1].error, Some(error));
        assert_eq!(recorder.of(id)[1].ran_for, None);
    }
}

#[test]
fn each_attempt_is_told() {
    let sup = pool(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let mut left = 2;
    let task = TaskBuilder::repeatable(move || {
        left -= 1;
        assert!(left < 0, "no luck");
        left
    })
    .retries(5)
    .retry_delay(Duration::from_millis(1))
    .supervisor(&sup)
    .start();
    let id = task.id();
    task.join().unwrap();
    let stages = ["launched", "started", "retrying", "started", "retrying", "started", "ended"];
    assert_eq!(recorder.stages(id), stages);
    let calls = recorder.of(id);
    assert_eq!(calls.iter().map(|call| call.attempt).collect::<Vec<_>>(), [0, 1, 1, 2, 2, 3, 3]);
    assert!(calls[2].error.as_ref().unwrap().is_panic() && calls[2].ran_for.is_some());
}

#[test]
fn value_that_is_retried_has_no_error() {
    let sup = pool(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let mut calls = 0;
    let task = TaskBuilder::repeatable(move || {
        calls += 1;
        calls
    });
    let task = task.retries(1).retry_if(|calls| *calls < 2).supervisor(&sup).start();
    let id = task.id();
    assert_eq!(task.join().unwrap(), 2);
    assert_eq!(recorder.stages(id), ["launched", "started", "retrying", "started", "ended"]);
    assert_eq!(recorder.of(id)[2].error, None);
}

#[background_task]
fn returns_err() -> Result<(), String> {
    Err("out of paper".into())
}

#[test]
fn returned_err_is_an_outcome_and_no_error() {
    let sup = pool(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let task = returns_err::builder().supervisor(&sup).start();
    let id = task.id();
    assert!(task.join().unwrap().is_err());
    let ended = &recorder.of(id)[2];
    assert_eq!((ended.outcome, &ended.error), (Some(Outcome::ReturnedErr), &None));
}

#[test]
fn canceled_task_is_ended_without_a_start() {
    let sup = pool(1);
    let (occupying, gate) = occupy(&sup, Priority::Normal);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let task = sup.spawn(|| ());
    assert!(task.cancel());
    assert_eq!(recorder.stages(task.id()), ["launched", "ended"]);
    assert_eq!(recorder.of(task.id())[1].error, Some(TaskError::Canceled));
    gate.open();
    occupying.join().unwrap();
}

#[test]
fn wait_in_the_queue_counts_without_the_delay() {
    let sup = pool(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let delay = Duration::from_secs(2);
    let task = TaskBuilder::new(|| ()).delay(delay).supervisor(&sup).start();
    let id = task.id();
    task.join().unwrap();
    assert!(recorder.of(id)[1].queued_for.unwrap() < delay);
}

#[test]
fn end_is_told_after_the_callbacks_and_before_the_outcome_is_visible() {
    struct Order {
        called_back: Arc<AtomicBool>,
        seen: Mutex<Vec<(bool, bool)>>,
        handle: Mutex<Option<atasker::TaskRef>>,
    }
    impl Observer for Order {
        fn ended(&self, _: &TaskEvent<'_>, _: Result<(), &TaskError>) {
            let handle = self.handle.lock().unwrap();
            let visible = handle.as_ref().unwrap().is_completed();
            self.seen.lock().unwrap().push((self.called_back.load(Ordering::SeqCst), visible));
        }
    }
    let sup = pool(1);
    let called_back = Arc::new(AtomicBool::new(false));
    let observer = Arc::new(Order {
        called_back: Arc::clone(&called_back),
        seen: Mutex::default(),
        handle: Mutex::default(),
    });
    let _guard = sup.observe(Arc::clone(&observer));
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || waits.wait())
        .on_complete(move |_| called_back.store(true, Ordering::SeqCst))
        .supervisor(&sup)
        .start();
    *observer.handle.lock().unwrap() = sup.task(task.id());
    gate.open();
    task.join().unwrap();
    assert_eq!(*observer.seen.lock().unwrap(), [(true, false)]);
}

#[test]
fn time_limit_is_told_once_while_the_function_goes_on() {
    let sup = pool(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let gate = Gate::new();
    let waits = gate.clone();
    let limit = Duration::from_millis(10);
    let task = TaskBuilder::new(move || waits.wait()).timeout(limit).supervisor(&sup).start();
    let id = task.id();
    assert_eq!(task.join(), Err(TaskError::TimedOut { limit }));
    gate.open();
    sup.stop(StopOptions::new());
    assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
    assert!(recorder.of(id)[2].ran_for.is_some());
}

#[test]
fn async_task_is_launched_started_and_ended() {
    let sup = pool(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let task = sup.spawn_async(async {
        tokio::task::yield_now().await;
        42
    });
    let id = task.id();
    assert_eq!(task.join().unwrap(), 42);
    let killed = sup.spawn_async(std::future::pending::<()>());
    let killed_id = killed.id();
    recorder.wait_for(killed_id, "started");
    killed.kill().unwrap();
    assert!(killed.join().unwrap_err().is_canceled());
    assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
    assert_eq!(recorder.stages(killed_id), ["launched", "started", "ended"]);
}

#[test]
fn many_tasks_have_each_one_launch_and_one_end() {
    let sup = pool(4);
    let recorder = Recorder::new();
    let guard = sup.observe(Arc::clone(&recorder));
    let tasks: Vec<_> = (0..2_000).map(|n| sup.spawn(move || n)).collect();
    let ids: Vec<_> = tasks.iter().map(atasker::Task::id).collect();
    wait_completed!(tasks).unwrap();
    drop(guard);
    let calls = recorder.calls();
    assert_eq!(calls.len(), 3 * ids.len());
    for stage in ["launched", "started", "ended"] {
        assert_eq!(calls.iter().filter(|call| call.stage == stage).count(), ids.len());
    }
    // Calls about one task come in the order of its life.
    let mut by_task: std::collections::HashMap<_, Vec<_>> = std::collections::HashMap::new();
    calls.iter().for_each(|call| by_task.entry(call.id).or_default().push(call.stage));
    assert!(by_task.values().all(|stages| *stages == ["launched", "started", "ended"]));
}
