//! Is the effect of a panicking destructor in user code limited to that value?

use std::panic::panic_any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::time::Duration;

use atasker::{
    FunctionCollection, IntervalWorker, Job, Priority, QueueWorker, StopOptions, Supervisor, Task,
    TaskBuilder, TaskContext, TaskError, WaitError, WorkerContext, background_task, wait_completed,
};
use atasker_tests::{FAR, Gate, Watchdog, eventually, occupy, pool};

/// Panics when dropped, with a payload that does the same, up to the given depth.
#[derive(Clone)]
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        match self.0 {
            0 => panic!("a destructor panics"),
            more => panic_any(Bomb(more - 1)),
        }
    }
}

/// Silences the thousands of expected panics, which would hide unexpected ones.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>().copied().unwrap_or("a bomb");
            if text != "a bomb" && text != "a destructor panics" {
                before(info);
            }
        }));
    });
}

fn drained(sup: &Supervisor) {
    assert_eq!(sup.stop(StopOptions::new()).abandoned, 0);
}

#[test]
fn result_after_time_limit_is_dropped() {
    quiet();
    let _watchdog = Watchdog::new("late results", FAR);
    for more in 0..3 {
        for retries in 0..3 {
            let sup = pool(1);
            let runs = Arc::new(AtomicU32::new(0));
            let counter = Arc::clone(&runs);
            let task = TaskBuilder::repeatable(move || {
                counter.fetch_add(1, Ordering::SeqCst);
                eventually(|| atasker::current().unwrap().stopped());
                Bomb(more)
            })
            .timeout(Duration::from_millis(5))
            .retries(retries)
            .supervisor(&sup)
            .start();
            assert!(matches!(task.wait().err(), Some(TaskError::TimedOut { .. })));
            drained(&sup);
            // The limit may expire before the function begins.
            assert!(runs.load(Ordering::SeqCst) <= retries + 1);
        }
    }
}

#[test]
fn results_beside_a_failure_are_dropped() {
    quiet();
    let _watchdog = Watchdog::new("results beside a failure", FAR);
    let sup = pool(2);
    let bomb = || sup.spawn(|| Bomb(1));
    let fails = || -> Task<Bomb> {
        TaskBuilder::new(|| panic_any("a destructor panics")).supervisor(&sup).start()
    };
    // The position of the failure.
    let index = |failed: Option<WaitError>| match failed {
        Some(WaitError::Task { index, .. }) => index,
        other => panic!("{other:?}"),
    };
    assert_eq!(index(wait_completed!(bomb(), fails()).err()), 1);
    assert_eq!(index(wait_completed!(bomb(), bomb(), fails(), bomb()).err()), 2);
    assert_eq!(index(wait_completed!([bomb(), bomb(), fails(), bomb()]).err()), 2);
    assert_eq!(index(wait_completed!(vec![bomb(), bomb(), fails(), bomb()]).err()), 2);
    drained(&sup);
}

#[test]
fn result_of_retried_attempt_is_dropped() {
    quiet();
    let _watchdog = Watchdog::new("earlier attempts", FAR);
    let sup = pool(1);
    let on_a_thread = TaskBuilder::repeatable(|| Bomb(1));
    let on_a_loop = TaskBuilder::__repeatable_future(|| async { Bomb(1) });
    for task in [on_a_thread, on_a_loop] {
        let task = task.retries(5).retry_if(|_| true).supervisor(&sup).start();
        assert!(task.wait().is_ok());
        assert_eq!(task.info().attempt, 6);
        drop(task);
    }
    drained(&sup);
}

#[test]
fn panicking_payload_closure_or_result_ends_task() {
    quiet();
    let _watchdog = Watchdog::new("payloads", FAR);
    for round in 0..30 {
        let sup = pool(2);
        for more in 0..3 {
            let bomb = Bomb(more);
            let payload = sup.spawn(move || panic_any(Bomb(more)));
            let captured = sup.spawn(move || holds(&bomb));
            let result = sup.spawn(move || Bomb(more));
            let future = TaskBuilder::future(async move { panic_any(Bomb(more)) });
            let future: Task<()> = future.supervisor(&sup).start();
            let awaits = TaskBuilder::future(async move {
                let _bomb = Bomb(more);
                std::future::pending::<()>().await;
            });
            let awaits = awaits.supervisor(&sup).start();
            assert!(payload.wait().unwrap_err().is_panic());
            // Values owned by the function are dropped with its call.
            assert!(captured.wait().unwrap_err().is_panic());
            assert!(result.wait().is_ok());
            // The handle is dropped before, during and after the end.
            if round % 3 == 0 {
                drop(result);
            }
            drop(sup.spawn(move || Bomb(more)));
            assert!(future.wait().unwrap_err().is_panic());
            awaits.kill().unwrap();
            assert!(awaits.wait().unwrap_err().is_canceled());
            // The loop continues.
            let next = TaskBuilder::future(async { 1 }).supervisor(&sup).start();
            assert_eq!(next.join().unwrap(), 1);
        }
        drained(&sup);
    }
}

#[test]
fn panic_outside_task_keeps_loop() {
    quiet();
    let _watchdog = Watchdog::new("loops", FAR);
    for threads in [1, 3] {
        let sup = pool(1);
        let aloop = sup.create_aloop_multi("bombs", threads);
        for more in 0..3 {
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                aloop.run(async move { panic_any(Bomb(more)) })
            }));
            std::mem::forget(ran);
            let kept = aloop.spawn(async move { Bomb(more) });
            let reference = kept.to_ref();
            assert!(kept.wait().is_ok());
            drop(kept);
            drop(reference);
            assert_eq!(aloop.run(async { 7 }), 7);
        }
        drained(&sup);
    }
}

#[test]
fn canceled_or_rejected_task_is_dropped() {
    quiet();
    let _watchdog = Watchdog::new("canceled", FAR);
    let sup = pool(1);
    let (first, gate) = occupy(&sup, Priority::Normal);
    let waits = |bomb: Bomb| {
        let callback = bomb.clone();
        TaskBuilder::new(move || holds(&bomb))
            .on_complete(move |_| holds(&callback))
            .supervisor(&sup)
            .start()
    };
    let canceled: Vec<_> = (0..3).map(|more| waits(Bomb(more))).collect();
    for task in &canceled {
        assert!(task.cancel());
    }
    for task in canceled {
        assert!(task.wait().unwrap_err().is_canceled());
    }
    let delayed = TaskBuilder::new({
        let bomb = Bomb(1);
        move || holds(&bomb)
    });
    let delayed = delayed.delay(Duration::from_secs(3600)).supervisor(&sup).start();
    let last = waits(Bomb(0));
    // Never started: the builder and everything that it holds are dropped.
    let bombs = (Bomb(0), Bomb(1));
    drop(TaskBuilder::new(move || holds(&bombs.0)).retry_if(move |_| drop_none(&bombs.1)));
    gate.open();
    first.join().unwrap();
    let report = sup.stop(StopOptions::new().cancel_tasks(true));
    assert!(report.canceled >= 1);
    assert!(delayed.wait().is_err());
    drop(last);
    // After the end, no message is accepted.
    let refused = waits(Bomb(2));
    assert!(matches!(refused.wait().unwrap_err(), TaskError::SupervisorStopped));
}

fn holds(_: &Bomb) {}

fn drop_none(_: &Bomb) -> bool {
    false
}

#[test]
fn unread_messages_are_dropped() {
    quiet();
    let _watchdog = Watchdog::new("messages", FAR);
    let sup = pool(1);
    let done = Gate::new();
    let at_end = done.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext<Bomb, Bomb>| {
        for more in 0..3 {
            assert!(ctx.send(Bomb(more)).is_ok());
        }
        at_end.wait();
    });
    let task = task.supervisor(&sup).start();
    for more in 0..3 {
        assert!(task.send(Bomb(more)).is_ok());
    }
    done.open();
    task.wait().unwrap();
    // Six bombs: dropping two of them without a guard would abort the program.
    drop(task);
    drained(&sup);
}

#[test]
fn panicking_waker_drop_wakes_others() {
    use std::task::{Context, Poll, Wake, Waker};
    struct Wakes(#[allow(dead_code)] Bomb);
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {}
    }
    quiet();
    let _watchdog = Watchdog::new("wakers", FAR);
    let sup = pool(1);
    for more in 0..3 {
        let (first, gate) = occupy(&sup, Priority::Normal);
        let mut task = std::pin::pin!(sup.spawn(|| 1));
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Wakes(Bomb(more))));
            let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll.is_pending());
            // The last reference is in the waker list.
            std::mem::forget(waker.clone());
            std::mem::forget(waker);
        }
        let waker = Waker::from(Arc::new(Wakes(Bomb(more))));
        assert_eq!(task.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
        std::mem::forget(waker);
        gate.open();
        first.join().unwrap();
        eventually(|| task.is_completed());
    }
    drained(&sup);
}

#[test]
fn background_worker_values_are_dropped() {
    quiet();
    let _watchdog = Watchdog::new("background workers", FAR);
    let sup = pool(2);
    let (taken, items) = mpsc::channel();
    let bombs = [Bomb(0), Bomb(1), Bomb(0), Bomb(1)];
    let [captured, hook, other_hook, reported] = bombs;
    let queue = QueueWorker::builder()
        .supervisor(&sup)
        .before_start(move || holds(&hook))
        .after_stop(move || holds(&other_hook))
        .on_error(move |_| {
            let _ = &reported;
            std::ops::ControlFlow::Continue(())
        })
        .run(move |_: &WorkerContext, item: Bomb| {
            let _ = &captured;
            taken.send(()).unwrap();
            drop(item);
        });
    queue.start();
    for more in 0..3 {
        assert!(queue.put(Bomb(more)).is_ok());
    }
    // Each function panics in its run, and the next run follows.
    for _ in 0..3 {
        items.recv_timeout(FAR).unwrap();
    }
    queue.stop();
    drop(queue);
    let left = QueueWorker::builder().supervisor(&sup).run(|_: &WorkerContext, _: Bomb| {});
    for more in 0..3 {
        assert!(left.put(Bomb(more)).is_ok());
    }
    drop(left);
    let bomb = Bomb(1);
    let ticks = IntervalWorker::builder(Duration::from_millis(1)).supervisor(&sup);
    let ticks = ticks.run(move |_: &WorkerContext| holds(&bomb));
    ticks.start();
    ticks.stop();
    drop(ticks);
    let bomb = Bomb(1);
    let job = sup.create_job(Job::every(Duration::from_millis(1)).times(2), move || holds(&bomb));
    eventually(|| !job.is_active());
    let collection: FunctionCollection<()> = FunctionCollection::new();
    for more in 0..3 {
        let bomb = Bomb(more);
        collection.add(format!("{more}"), 1, move || holds(&bomb));
    }
    assert!(collection.execute().all_ok);
    assert!(collection.remove("1"));
    drop(collection);
    let bomb = Bomb(1);
    sup.on_queued_for(Duration::from_secs(3600), move |_| holds(&bomb));
    drained(&sup);
}

/// Panics when a copy is dropped in this process.
#[derive(serde::Serialize, serde::Deserialize)]
struct Sent(u32);

impl Drop for Sent {
    fn drop(&mut self) {
        panic_any(Bomb(self.0));
    }
}

#[background_task(tt = "mp")]
fn gives(more: u32) -> Sent {
    quiet();
    Sent(more)
}

#[test]
fn process_results_are_dropped() {
    quiet();
    let _watchdog = Watchdog::new("worker processes", FAR);
    let sup = pool(1);
    for more in 0..3 {
        // The worker process drops the result that it has encoded, the parent the one that it has
        // decoded.
        let task = gives::builder(more).retries(2).retry_if(|_| true).supervisor(&sup).start();
        match task.wait() {
            Ok(sent) => assert_eq!(sent.0, more),
            Err(error) => assert!(error.is_panic(), "{error}"),
        }
        drop(task);
        drop(gives::builder(more).supervisor(&sup).start());
    }
    drained(&sup);
}
