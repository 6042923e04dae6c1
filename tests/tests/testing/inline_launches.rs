//! What else happens to a launch under `testing::inline`: messages, stops, limits, threads?

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use atasker::{
    EventWorker, Job, KillError, Observer, Overflow, PoolConfig, Priority, RecvError, StopOptions,
    Supervisor, TaskBuilder, TaskContext, TaskError, TaskEvent, TrySendError, current, testing,
};
use atasker_tests::{FAR, Gate, Watchdog, eventually, occupy, pool, pool_with};

#[test]
fn nothing_queued_means_closed() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool(1);
    let _guard = testing::inline();
    let task = TaskBuilder::with_context(|ctx: &TaskContext<u8, u8>| {
        assert_eq!(ctx.recv_timeout(FAR), Err(RecvError::Closed));
        assert_eq!(ctx.try_recv(), Err(RecvError::Closed));
        assert!(!ctx.stopped());
        ctx.recv()
    });
    let task = task.supervisor(&sup).start();
    assert_eq!(task.send(1).unwrap_err().0, 1);
    assert_eq!(task.join().unwrap(), Err(RecvError::Closed));
}

#[test]
fn sent_messages_are_received_afterwards() {
    let sup = pool(1);
    let _guard = testing::inline();
    let task = TaskBuilder::with_context(|ctx: &TaskContext<(), u32>| {
        ctx.progress(3, 4);
        (0..3).for_each(|n| ctx.send(n).unwrap());
    });
    let task = task.supervisor(&sup).start();
    assert!(matches!(task.progress(), Some(atasker::Progress { done: 3, total: 4, .. })));
    assert_eq!(task.try_recv(), Ok(0));
    assert_eq!(task.messages().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(task.recv(), Err(RecvError::Closed));
}

#[test]
fn full_channel_is_an_error() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool(1);
    let _guard = testing::inline();
    let task = TaskBuilder::with_context(|ctx: &TaskContext<(), u32>| {
        let sent = (0..).take_while(|n| ctx.send(*n).is_ok()).count();
        assert!(matches!(ctx.try_send(7), Err(TrySendError::Full(7))));
        assert!(futures_lite::future::block_on(ctx.send_async(7)).is_err());
        sent
    });
    let task = task.supervisor(&sup).start();
    assert_eq!(task.result(), Some(&1024));
    assert_eq!(task.messages().count(), 1024);
}

#[test]
fn task_can_stop_itself() {
    let sup = pool(1);
    let _guard = testing::inline();
    let ours = sup.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext<u8>| {
        ours.task(ctx.id()).unwrap().stop();
        assert!(ctx.stopped() && ctx.wait_stop(FAR));
        ctx.recv()
    });
    let task = task.supervisor(&sup).start();
    assert_eq!(task.join().unwrap(), Err(RecvError::Stopped));
}

#[test]
fn stop_prevents_further_attempts() {
    let sup = pool(1);
    let _guard = testing::inline();
    let ours = sup.clone();
    let task = TaskBuilder::repeatable(move || {
        ours.task(current().unwrap().id()).unwrap().stop();
        true
    });
    let task = task.retries(5).retry_if(|again| *again).supervisor(&sup).start();
    assert_eq!((task.info().attempt, task.join().unwrap()), (1, true));
}

#[test]
fn kill_inside_a_task_is_that_of_its_kind() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool(1);
    let _guard = testing::inline();
    let kill = |sup: &Supervisor| sup.task(current().unwrap().id()).unwrap().kill();
    let ours = sup.clone();
    let task = sup.spawn(move || kill(&ours));
    assert_eq!(task.join().unwrap(), Err(KillError::Unsupported));
    let ours = sup.clone();
    let task = sup.spawn_async(async move {
        kill(&ours).unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(task.join().unwrap_err(), TaskError::Canceled);
}

#[test]
fn other_thread_can_end_a_task_that_runs() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let ours = sup.clone();
    let other = thread::spawn(move || {
        let id = rx.recv().unwrap();
        ours.task(id).unwrap().kill().unwrap();
    });
    let _guard = testing::inline();
    let task = sup.spawn_async(async move {
        tx.send(current().unwrap().id()).unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(task.join().unwrap_err(), TaskError::Canceled);
    other.join().unwrap();
}

#[test]
fn stopped_supervisor_takes_nothing() {
    let sup = pool(1);
    let _guard = testing::inline();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    sup.stop(StopOptions::new());
    let here = thread::current().id();
    let (tx, rx) = mpsc::channel();
    let task = TaskBuilder::new(|| 1)
        .supervisor(&sup)
        .on_complete(move |result| tx.send((result.clone(), thread::current().id())).unwrap());
    assert_eq!(task.start().join(), Err(TaskError::SupervisorStopped));
    assert_eq!(rx.try_recv(), Ok((Err(TaskError::SupervisorStopped), here)));
    sup.start();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn stop_within_nested_tasks_does_not_wait_for_them() {
    let _watchdog = Watchdog::new("inline", FAR);
    let (sup, other) = (pool(1), pool(1));
    let _guard = testing::inline();
    let (ours, between) = (sup.clone(), other.clone());
    let task = sup.spawn(move || {
        let inner = ours.clone();
        let nested = between.spawn(move || {
            let innermost = inner.clone();
            inner.spawn(move || innermost.stop(StopOptions::new())).join().unwrap()
        });
        nested.join().unwrap()
    });
    let report = task.join().unwrap();
    assert_eq!((report.completed, report.canceled, report.abandoned), (0, 0, 0));
    assert!(!sup.is_active() && other.is_active());
}

#[test]
fn slots_and_full_queues_have_no_effect() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Reject));
    let (busy, gate) = occupy(&sup, Priority::Normal);
    assert!(sup.spawn(|| 1).join().is_err());
    let guard = testing::inline();
    assert_eq!(sup.spawn(|| 2).join().unwrap(), 2);
    drop(guard);
    assert_eq!(sup.spawn(|| 3).join().unwrap_err(), TaskError::QueueFull);
    gate.open();
    busy.join().unwrap();
}

#[test]
fn other_threads_and_background_workers_are_not_affected() {
    let sup = pool(2);
    let here = thread::current().id();
    let _guard = testing::inline();
    let (gate, ours) = (Gate::new(), sup.clone());
    let waits = gate.clone();
    let other = thread::spawn(move || ours.spawn(move || waits.wait()));
    let other = other.join().unwrap();
    assert!(!other.is_completed());
    gate.open();
    other.join().unwrap();
    let (tx, rx) = mpsc::channel();
    let (runs, gate) = (tx.clone(), Gate::new());
    let waits = gate.clone();
    let worker = EventWorker::builder().supervisor(&sup).run(move |_| {
        waits.wait();
        runs.send(thread::current().id()).unwrap();
    });
    worker.start();
    worker.trigger();
    let job =
        sup.create_job(Job::every(FAR).times(1), move || tx.send(thread::current().id()).unwrap());
    gate.open();
    assert!(rx.recv_timeout(FAR).unwrap() != here && rx.recv_timeout(FAR).unwrap() != here);
    eventually(|| !job.is_active());
    worker.stop();
}

#[test]
fn guards_nest() {
    let sup = pool(1);
    let here = thread::current().id();
    let id = || thread::current().id();
    let outer = testing::inline();
    let inner = testing::inline();
    drop(outer);
    assert_eq!(sup.spawn(id).join().unwrap(), here);
    assert_eq!(sup.spawn_async(async move { id() }).join().unwrap(), here);
    drop(inner);
    assert_ne!(sup.spawn(id).join().unwrap(), here);
}

#[test]
fn task_may_drop_the_guard() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool(1);
    let here = thread::current().id();
    thread_local! {
        static GUARD: std::cell::RefCell<Option<testing::InlineGuard>> = const { std::cell::RefCell::new(None) };
    }
    GUARD.set(Some(testing::inline()));
    let ours = sup.clone();
    let task = sup.spawn_async(async move {
        drop(GUARD.take());
        // Its own runtime serves it to its end.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let nested = ours.spawn(|| thread::current().id());
        (thread::current().id(), nested.await.unwrap())
    });
    let (outer, nested) = task.join().unwrap();
    assert!(outer == here && nested != here);
}

#[test]
fn guard_of_a_pool_thread_is_its_own() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool(1);
    let ours = sup.clone();
    // The only slot is taken by the launching task.
    let task = sup.spawn(move || {
        let here = thread::current().id();
        let later = ours.spawn(|| thread::current().id());
        let _guard = testing::inline();
        // It waits for a task that needs the slot.
        let task = ours.spawn_async(async move { later.await.unwrap() });
        (
            task.join().unwrap() != here,
            ours.spawn(|| thread::current().id()).join().unwrap() == here,
        )
    });
    assert_eq!(task.join().unwrap(), (true, true));
}

#[derive(Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Observer for Log {
    fn launched(&self, task: &TaskEvent<'_>) {
        self.0.lock().unwrap().push(format!("launched {}", task.name()));
    }
    fn started(&self, task: &TaskEvent<'_>) {
        self.0.lock().unwrap().push(format!("started {} {}", task.name(), task.attempt()));
    }
    fn retrying(&self, task: &TaskEvent<'_>, _: Option<&TaskError>, pause: Duration) {
        assert!(pause == FAR);
        self.0.lock().unwrap().push(format!("retrying {}", task.name()));
    }
    fn ended(&self, task: &TaskEvent<'_>, result: Result<(), &TaskError>) {
        self.0.lock().unwrap().push(format!("ended {} {}", task.name(), result.is_ok()));
    }
}

#[test]
fn observers_see_the_usual_stages() {
    let sup = pool(1);
    let log = Log::default();
    let seen = Arc::clone(&log.0);
    let observer = sup.observe(log);
    let guard = testing::inline();
    let (attempts, ours) = (AtomicU32::new(0), sup.clone());
    TaskBuilder::repeatable(move || {
        let nested = TaskBuilder::new(|| panic!("nested")).name("b").supervisor(&ours).start();
        let _: TaskError = Result::<(), _>::unwrap_err(nested.join());
        attempts.fetch_add(1, Ordering::Relaxed) == 0
    })
    .name("a")
    .retries(1)
    .retry_if(|first| *first)
    .retry_delay(FAR)
    .delay(FAR)
    .supervisor(&sup)
    .start()
    .join()
    .unwrap();
    let nested = ["launched b", "started b 1", "ended b false"];
    let mut expected = vec!["launched a", "started a 1"];
    expected.extend(nested);
    expected.extend(["retrying a", "started a 2"]);
    expected.extend(nested);
    expected.push("ended a true");
    assert_eq!(*seen.lock().unwrap(), expected);
    drop((guard, observer));
    let report = sup.stop(StopOptions::new());
    assert_eq!((report.completed, report.abandoned), (0, 0));
}
