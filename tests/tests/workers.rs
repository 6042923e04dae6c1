//! What background workers of the class form do: each kind, start and stop, errors, hooks.

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
fn a_loop_worker_runs_again_and_again() {
    let sup = pool(1);
    let worker = LoopWorker::builder().supervisor(&sup).run(|ctx: &WorkerContext| {
        ctx.wait_stop(Duration::from_micros(100));
    });
    assert!(!worker.is_active() && !worker.is_started() && !worker.is_stopped());
    assert!(worker.start());
    assert!(worker.is_active() && worker.is_started() && !worker.is_stopped());
    eventually(|| worker.runs() > 3);
    // Its thread is its own: the pool's only slot is free.
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
fn start_twice_and_stop_twice() {
    let sup = pool(1);
    let worker = IntervalWorker::builder(LONG).supervisor(&sup).run(|_| ());
    worker.stop();
    assert!(!worker.is_stopped(), "it was never started");
    assert!(worker.start());
    assert!(!worker.start());
    worker.stop();
    worker.stop();
    assert!(worker.is_stopped());
}

#[test]
fn an_interval_worker_keeps_its_interval() {
    let sup = pool(1);
    let worker = IntervalWorker::builder(SHORT).supervisor(&sup).run(|_| ());
    worker.start();
    eventually(|| worker.runs() >= 5);
    worker.stop();
}

#[test]
fn a_pause_between_the_runs() {
    let sup = pool(1);
    let worker = IntervalWorker::with_delay(SHORT).delay_before(SHORT).supervisor(&sup).run(|_| ());
    worker.start();
    eventually(|| worker.runs() >= 5);
    worker.stop();
}

#[test]
fn an_event_worker_runs_when_triggered() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let worker = EventWorker::builder().supervisor(&sup).run(move |_| tx.send(()).unwrap());
    assert!(!worker.trigger(), "it is not active");
    worker.start();
    assert!(worker.trigger());
    rx.recv_timeout(FAR).unwrap();
    worker.stop();
    assert_eq!(worker.runs(), 1);
    assert!(!worker.trigger());
}

#[test]
fn triggers_during_a_run_make_one_more() {
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
    // Nothing is left of the five.
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    worker.stop();
    assert_eq!(worker.runs(), 2);
    assert!(rx.try_recv().is_err());
}

#[test]
fn a_queue_worker_takes_items_in_order() {
    let sup = pool(4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let worker = QueueWorker::builder()
        .supervisor(&sup)
        .run(move |_: &WorkerContext, n: u32| list.lock().unwrap().push(n));
    // Before the start they wait.
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
fn the_smallest_item_first() {
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
fn items_left_at_a_stop_are_there_for_the_next_start() {
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
fn a_full_queue_makes_put_wait() {
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
fn a_stop_gives_back_what_waits_for_room() {
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
    // It may have come too late to wait: that makes no difference.
    assert_eq!(putter.join().unwrap().unwrap_err().into_inner(), 2);
}

#[test]
fn its_own_function_puts_beyond_the_limit() {
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
fn false_break_and_errors_stop_it_as_they_should() {
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
fn a_panic_is_told_and_the_worker_goes_on() {
    let sup = pool(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&told);
    let worker = EventWorker::builder()
        .name("fragile")
        .supervisor(&sup)
        .on_error(move |error| {
            list.lock().unwrap().push(error.to_string());
            ControlFlow::Continue(())
        })
        .run(|ctx| assert!(ctx.runs() != 1, "second time unlucky"));
    worker.start();
    for run in 1..=3 {
        worker.trigger();
        eventually(|| worker.runs() == run);
    }
    worker.stop();
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("run 2 of `fragile`") && told[0].contains("second time unlucky"));
}

#[test]
fn hooks_come_in_order() {
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
fn stop_waits_for_the_run_and_asks_it() {
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
fn stop_within_the_function_does_not_wait() {
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
fn restart_within_the_function() {
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
fn a_hook_starts_the_worker_again() {
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
    // Waits for the end that it has asked for, and not for that of the next life.
    worker.stop();
    assert!(worker.is_active());
    worker.stop();
    assert!(!worker.is_active());
}

#[test]
fn starts_stops_and_restarts_from_several_threads() {
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
fn workers_stop_with_their_supervisor() {
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
        assert!(!worker.start(), "its supervisor is stopped");
    }
    assert!(sup.info().workers.is_empty());
    sup.start();
    assert!(event.start());
    event.stop();
}

#[test]
fn an_active_worker_goes_on_without_its_handle() {
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
    // The end of the supervisor is the end of the worker and of its function.
    drop(sup);
    eventually(|| rx.try_recv() == Err(mpsc::TryRecvError::Disconnected));
}

#[test]
fn runs_take_their_turn_by_priority() {
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
fn a_rejecting_queue_lets_workers_in() {
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
    fn all_kinds() {
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
    fn a_stop_is_seen_and_awaited() {
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
    fn a_panic_is_told() {
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
