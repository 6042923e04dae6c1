//! How do background workers built by the builders behave: each kind, start and stop, errors,
//! hooks?

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{
    BackgroundWorker, EventWorker, IntervalWorker, LoopWorker, PoolConfig, Priority, QueueWorker,
    StopOptions, Supervisor, WorkerContext, WorkerKind,
};
use atasker_tests::{FAR, Gate, Watchdog, eventually};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3600);

fn pool(size: usize) -> Supervisor {
    Supervisor::builder().thread_pool(PoolConfig::new(size)).build()
}

#[test]
fn loop_worker_repeats() {
    let sup = pool(1);
    let worker = LoopWorker::builder().supervisor(&sup).run(|ctx: &WorkerContext| {
        ctx.wait_stop(Duration::from_micros(100));
    });
    assert!(!worker.is_active() && !worker.is_started() && !worker.is_stopped());
    assert!(worker.start());
    assert!(worker.is_active() && worker.is_started() && !worker.is_stopped());
    eventually(|| worker.runs() > 3);
    // The worker has a dedicated thread: the pool's only slot is free.
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    assert!(worker.last_executed().is_some());
    worker.stop();
    assert!(!worker.is_active() && !worker.is_started() && worker.is_stopped());
    let runs = worker.runs();
    assert!(worker.start());
    eventually(|| worker.runs() > runs);
    worker.stop();
}

#[test]
fn start_and_stop_are_idempotent() {
    let sup = pool(1);
    let worker = IntervalWorker::builder(LONG).supervisor(&sup).run(|_| ());
    worker.stop();
    assert!(!worker.is_stopped(), "the worker was never started");
    assert!(worker.start());
    assert!(!worker.start());
    worker.stop();
    worker.stop();
    assert!(worker.is_stopped());
}

#[test]
fn interval_worker_keeps_interval() {
    let sup = pool(1);
    let worker = IntervalWorker::builder(SHORT).supervisor(&sup).run(|_| ());
    worker.start();
    eventually(|| worker.runs() >= 5);
    worker.stop();
}

#[test]
fn delay_pauses_between_runs() {
    let sup = pool(1);
    let worker = IntervalWorker::with_delay(SHORT).delay_before(SHORT).supervisor(&sup).run(|_| ());
    worker.start();
    eventually(|| worker.runs() >= 5);
    worker.stop();
}

#[test]
fn event_worker_runs_when_triggered() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let worker = EventWorker::builder().supervisor(&sup).run(move |_| tx.send(()).unwrap());
    assert!(!worker.trigger(), "the worker is not active");
    worker.start();
    assert!(worker.trigger());
    rx.recv_timeout(FAR).unwrap();
    worker.stop();
    assert_eq!(worker.runs(), 1);
    assert!(!worker.trigger());
}

#[test]
fn triggers_during_run_are_coalesced() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let gate = Gate::new();
    let open = gate.clone();
    let worker = EventWorker::builder().supervisor(&sup).run(move |_| {
        tx.send(()).unwrap();
        gate.wait();
    });
    worker.start();
    worker.trigger();
    rx.recv_timeout(FAR).unwrap();
    for _ in 0..5 {
        worker.trigger();
    }
    open.open();
    rx.recv_timeout(FAR).unwrap();
    eventually(|| worker.runs() == 2);
    // None of the five triggers is pending.
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    worker.stop();
    assert_eq!(worker.runs(), 2);
    assert!(rx.try_recv().is_err());
}

#[test]
fn queue_worker_takes_items_in_order() {
    let sup = pool(4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let worker = QueueWorker::builder()
        .supervisor(&sup)
        .run(move |_: &WorkerContext, n: u32| list.lock().unwrap().push(n));
    // Before the start, items are queued.
    worker.put(0).unwrap();
    worker.start();
    for n in 1..100 {
        worker.put(n).unwrap();
    }
    eventually(|| worker.runs() == 100);
    worker.stop();
    assert_eq!(*seen.lock().unwrap(), (0..100).collect::<Vec<_>>());
    assert_eq!(worker.put(7).unwrap_err().into_inner(), 7);
}

#[test]
fn priority_queue_takes_smallest_first() {
    let sup = pool(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let worker = QueueWorker::builder()
        .supervisor(&sup)
        .by_priority()
        .run(move |_: &WorkerContext, n: u32| list.lock().unwrap().push(n));
    for n in [5, 3, 9, 1, 3] {
        worker.put(n).unwrap();
    }
    worker.start();
    eventually(|| worker.runs() == 5);
    assert_eq!(*seen.lock().unwrap(), [1, 3, 3, 5, 9]);
    worker.stop();
}

#[test]
fn remaining_items_are_kept_for_next_start() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let worker = QueueWorker::builder().supervisor(&sup).run(move |_: &WorkerContext, n: u32| {
        tx.send(n).unwrap();
        n != 1
    });
    for n in 0..4 {
        worker.put(n).unwrap();
    }
    worker.start();
    eventually(|| !worker.is_started());
    assert_eq!(worker.len(), 2);
    worker.start();
    eventually(|| worker.runs() == 4);
    worker.stop();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn full_queue_blocks_put() {
    let _watchdog = Watchdog::new("a full queue", FAR);
    let sup = pool(1);
    let gate = Gate::new();
    let open = gate.clone();
    let worker = QueueWorker::builder().supervisor(&sup).queue_limit(2).run(
        move |_: &WorkerContext, _: u32| {
            gate.wait();
        },
    );
    worker.start();
    worker.put(0).unwrap();
    eventually(|| worker.is_empty());
    worker.put(1).unwrap();
    worker.put(2).unwrap();
    assert!(worker.try_put(3).unwrap_err().is_full());
    let other = worker.clone();
    let putter = std::thread::spawn(move || other.put(3));
    open.open();
    putter.join().unwrap().unwrap();
    eventually(|| worker.runs() == 4);
    worker.stop();
}

#[test]
fn stop_returns_item_of_blocked_put() {
    let _watchdog = Watchdog::new("a stop while put waits", FAR);
    let sup = pool(1);
    let worker = QueueWorker::builder().supervisor(&sup).queue_limit(1).run(
        |ctx: &WorkerContext, _: u32| {
            ctx.wait_stop(LONG);
        },
    );
    worker.start();
    worker.put(0).unwrap();
    eventually(|| worker.is_empty());
    worker.put(1).unwrap();
    let other = worker.clone();
    let putter = std::thread::spawn(move || other.put(2));
    worker.stop();
    // The `put` may have come too late to block; the result is the same.
    assert_eq!(putter.join().unwrap().unwrap_err().into_inner(), 2);
}

#[test]
fn own_function_may_exceed_limit() {
    let _watchdog = Watchdog::new("put in the worker's own function", FAR);
    let sup = pool(1);
    let own: Arc<Mutex<Option<QueueWorker<u32>>>> = Arc::default();
    let me = Arc::clone(&own);
    let worker =
        QueueWorker::builder().supervisor(&sup).queue_limit(1).run(move |_: &WorkerContext, n| {
            if n > 0 {
                let worker = me.lock().unwrap().clone().unwrap();
                worker.put(n - 1).unwrap();
                worker.put(0).unwrap();
            }
        });
    *own.lock().unwrap() = Some(worker.clone());
    worker.start();
    worker.put(3).unwrap();
    eventually(|| worker.runs() == 7);
    worker.stop();
    own.lock().unwrap().take();
}

#[test]
fn false_break_and_errors_stop_worker() {
    let sup = pool(2);
    let by_false = LoopWorker::builder().supervisor(&sup).run(|ctx| ctx.runs() < 4);
    let by_break = LoopWorker::builder().supervisor(&sup).run(|ctx| match ctx.runs() {
        0..4 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    let by_error = LoopWorker::builder()
        .supervisor(&sup)
        .on_error(|error| {
            assert_eq!(error.message(), "five");
            assert!(!error.is_panic());
            ControlFlow::Break(())
        })
        .run(|ctx| if ctx.runs() < 4 { Ok(()) } else { Err("five") });
    let workers: [&BackgroundWorker; 3] = [&by_false, &by_break, &by_error];
    for worker in workers {
        worker.start();
    }
    for worker in workers {
        eventually(|| !worker.is_started());
        assert!(worker.is_stopped());
        assert_eq!(worker.runs(), 5);
    }
}

#[test]
fn panic_reaches_on_error_and_worker_continues() {
    let sup = pool(1);
    let reported = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&reported);
    let worker = EventWorker::builder()
        .name("fragile")
        .supervisor(&sup)
        .on_error(move |error| {
            list.lock().unwrap().push(error.to_string());
            ControlFlow::Continue(())
        })
        .run(|ctx| assert!(ctx.runs() != 1, "the second run fails"));
    worker.start();
    for run in 1..=3 {
        worker.trigger();
        eventually(|| worker.runs() == run);
    }
    worker.stop();
    let reported = reported.lock().unwrap();
    assert_eq!(reported.len(), 1);
    assert!(
        reported[0].contains("run 2 of `fragile`") && reported[0].contains("the second run fails")
    );
}

#[test]
fn hooks_run_in_order() {
    let sup = pool(1);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let calls = Arc::clone(&calls);
        move || calls.lock().unwrap().push(what)
    };
    let run = note("run");
    let worker = EventWorker::builder()
        .supervisor(&sup)
        .before_start(note("before start"))
        .after_start(|ctx: &WorkerContext| ctx.trigger())
        .after_start(note("after start"))
        .before_stop(note("before stop"))
        .after_stop(note("after stop"))
        .run(move |_| run());
    worker.start();
    eventually(|| worker.runs() == 1);
    worker.stop();
    let wanted = ["before start", "after start", "run", "before stop", "after stop"];
    assert_eq!(*calls.lock().unwrap(), wanted);
}

#[test]
fn stop_requests_stop_and_waits_for_run() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let ended = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&ended);
    let worker = EventWorker::builder().supervisor(&sup).run(move |ctx| {
        tx.send(()).unwrap();
        assert!(ctx.wait_stop(LONG));
        assert!(ctx.stopped());
        count.fetch_add(1, Ordering::SeqCst);
    });
    worker.start();
    worker.trigger();
    rx.recv_timeout(FAR).unwrap();
    worker.stop();
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

#[test]
fn stop_inside_run_does_not_wait() {
    let _watchdog = Watchdog::new("stop within", FAR);
    let sup = pool(1);
    let own: Arc<Mutex<Option<EventWorker>>> = Arc::default();
    let me = Arc::clone(&own);
    let worker = EventWorker::builder().supervisor(&sup).run(move |_| {
        me.lock().unwrap().as_ref().unwrap().stop();
    });
    *own.lock().unwrap() = Some(worker.clone());
    worker.start();
    worker.trigger();
    eventually(|| !worker.is_started());
    assert_eq!(worker.runs(), 1);
    own.lock().unwrap().take();
}

#[test]
fn restart_inside_run() {
    let _watchdog = Watchdog::new("restart within", FAR);
    let sup = pool(1);
    let starts = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&starts);
    let own: Arc<Mutex<Option<EventWorker>>> = Arc::default();
    let me = Arc::clone(&own);
    let worker = EventWorker::builder()
        .supervisor(&sup)
        .before_start(move || {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .run(move |_| {
            let worker = me.lock().unwrap().clone().unwrap();
            worker.restart();
            assert!(worker.is_active());
        });
    *own.lock().unwrap() = Some(worker.clone());
    worker.start();
    worker.trigger();
    eventually(|| starts.load(Ordering::SeqCst) == 2);
    assert!(worker.is_active() && !worker.is_stopped());
    worker.stop();
    assert_eq!(worker.runs(), 1);
    own.lock().unwrap().take();
}

#[test]
fn hook_restarts_worker() {
    let _watchdog = Watchdog::new("a start in after_stop", FAR);
    let sup = pool(1);
    let own: Arc<Mutex<Option<EventWorker>>> = Arc::default();
    let me = Arc::clone(&own);
    let worker = EventWorker::builder()
        .supervisor(&sup)
        .after_stop(move || {
            if let Some(worker) = me.lock().unwrap().take() {
                assert!(worker.start());
            }
        })
        .run(|_| ());
    *own.lock().unwrap() = Some(worker.clone());
    worker.start();
    // `stop` waits for the end that it requested, not for that of the restarted worker.
    worker.stop();
    assert!(worker.is_active());
    worker.stop();
    assert!(!worker.is_active());
}

#[test]
fn concurrent_starts_stops_and_restarts() {
    let _watchdog = Watchdog::new("starts and stops", FAR);
    let sup = pool(2);
    let worker = EventWorker::builder().supervisor(&sup).run(|_| ());
    let rounds = 3_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                worker.start();
            }
        });
        scope.spawn(|| (0..rounds).for_each(|_| worker.stop()));
        scope.spawn(|| (0..rounds).for_each(|_| worker.restart()));
        scope.spawn(|| {
            for _ in 0..rounds {
                worker.trigger();
            }
        });
    });
    worker.stop();
    assert!(worker.is_stopped() && !worker.is_started());
}

#[test]
fn stopped_supervisor_stops_workers() {
    let sup = pool(1);
    let looping = LoopWorker::builder().name("loop").supervisor(&sup).run(|ctx| {
        ctx.wait_stop(LONG);
    });
    let interval = IntervalWorker::builder(LONG).name("interval").supervisor(&sup).run(|_| ());
    let event = EventWorker::builder().name("event").supervisor(&sup).run(|_| ());
    let queue = QueueWorker::<u8>::builder().name("queue").supervisor(&sup).run(|_, _| ());
    let workers: [&BackgroundWorker; 4] = [&looping, &interval, &event, &queue];
    for worker in workers {
        assert!(worker.start());
    }
    let info = sup.info();
    let shown: Vec<_> = info.workers.iter().map(|w| (w.name.as_str(), w.kind)).collect();
    assert_eq!(
        shown,
        [
            ("loop", WorkerKind::Loop),
            ("interval", WorkerKind::Interval),
            ("event", WorkerKind::Event),
            ("queue", WorkerKind::Queue)
        ]
    );
    assert!(info.workers[1].next.is_some() || info.workers[1].running);
    let report = sup.stop(StopOptions::new());
    assert_eq!(report.abandoned, 0);
    for worker in workers {
        assert!(worker.is_stopped(), "{worker:?}");
        eventually(|| !worker.is_started());
        assert!(!worker.start(), "the supervisor is stopped");
    }
    assert!(sup.info().workers.is_empty());
    sup.start();
    assert!(event.start());
    event.stop();
}

#[test]
fn active_worker_continues_without_handle() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let worker = IntervalWorker::builder(SHORT).supervisor(&sup).run(move |_| {
        let _ = tx.send(());
    });
    worker.start();
    drop(worker);
    for _ in 0..3 {
        rx.recv_timeout(FAR).unwrap();
    }
    // The end of the supervisor ends the worker and drops its function.
    drop(sup);
    eventually(|| rx.try_recv() == Err(mpsc::TryRecvError::Disconnected));
}

#[test]
fn runs_are_queued_by_priority() {
    let sup = pool(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let gate = Gate::new();
    let hold = gate.clone();
    let running = sup.spawn(move || hold.wait());
    eventually(|| running.is_started());
    let worker = |name: &'static str, priority| {
        let order = Arc::clone(&order);
        let worker = EventWorker::builder()
            .supervisor(&sup)
            .priority(priority)
            .run(move |_| order.lock().unwrap().push(name));
        worker.start();
        worker.trigger();
        worker
    };
    let low = worker("low", Priority::Low);
    let high = worker("high", Priority::High);
    gate.open();
    eventually(|| low.runs() + high.runs() == 2);
    assert_eq!(*order.lock().unwrap(), ["high", "low"]);
}

#[test]
fn rejecting_queue_accepts_worker_runs() {
    let rejecting = PoolConfig::new(1).queue_limit(0, atasker::Overflow::Reject);
    let sup = Supervisor::builder().thread_pool(rejecting).build();
    let gate = Gate::new();
    let hold = gate.clone();
    let running = sup.spawn(move || hold.wait());
    eventually(|| running.is_started());
    let worker = EventWorker::builder().supervisor(&sup).run(|_| ());
    worker.start();
    worker.trigger();
    gate.open();
    eventually(|| worker.runs() == 1);
    worker.stop();
}

mod on_a_loop {
    use super::*;

    #[test]
    fn every_kind_runs() {
        let sup = pool(1);
        let looping = LoopWorker::builder().supervisor(&sup).run_async(|ctx| async move {
            std::future::ready(()).await;
            ctx.runs() < 9
        });
        let interval = IntervalWorker::builder(SHORT)
            .supervisor(&sup)
            .run_async(|_| async { Ok::<_, String>(()) });
        let event = EventWorker::builder().supervisor(&sup).run_async(|_| async {});
        let queue =
            QueueWorker::builder().supervisor(&sup).run_async(|_, n: u32| async move { n > 0 });
        looping.start();
        interval.start();
        event.start();
        queue.start();
        event.trigger();
        for n in [2, 1, 0] {
            queue.put(n).unwrap();
        }
        eventually(|| !looping.is_started());
        assert_eq!(looping.runs(), 10);
        eventually(|| !queue.is_started());
        assert_eq!(queue.runs(), 3);
        eventually(|| interval.runs() > 3 && event.runs() == 1);
        interval.stop();
        event.stop();
    }

    #[test]
    fn stop_is_observed_and_awaited() {
        let sup = pool(1);
        let worker = EventWorker::builder().supervisor(&sup).run_async(|ctx| async move {
            ctx.stop_requested().await;
        });
        worker.start();
        worker.trigger();
        let other = worker.clone();
        sup.spawn_async(async move { other.stop_async().await }).join().unwrap();
        assert!(worker.is_stopped() && !worker.is_started());
    }

    #[test]
    fn panic_reaches_on_error() {
        let sup = pool(1);
        let (tx, rx) = mpsc::channel();
        let worker = EventWorker::builder()
            .supervisor(&sup)
            .on_error(move |error| {
                tx.send(error.clone()).unwrap();
                ControlFlow::Break(())
            })
            .run_async(|ctx| async move { assert!(ctx.stopped(), "oh") });
        worker.start();
        worker.trigger();
        let error = rx.recv_timeout(FAR).unwrap();
        assert!(error.is_panic(), "{error}");
        eventually(|| !worker.is_started());
    }
}
