//! When does a task run again, and what do observers see of its attempts?

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{
    Priority, RecvError, StopOptions, Supervisor, Task, TaskBuilder, TaskContext, TaskStatus,
};
use atasker_tests::{Gate, eventually, occupy, pool};

const LONG: Duration = Duration::from_secs(3600);

/// Counts runs, and panics in the first `failures` of them.
fn fails(runs: &Arc<AtomicU32>, failures: u32) -> impl FnMut() -> u32 + Send + 'static {
    let runs = Arc::clone(runs);
    move || {
        let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(run > failures, "run {run} fails");
        run
    }
}

fn later(sup: &Supervisor, runs: &Arc<AtomicU32>, failures: u32, retries: u32) -> [Task<u32>; 2] {
    let thread = TaskBuilder::repeatable(fails(runs, failures)).retries(retries);
    let mut f = fails(runs, failures);
    let asynchronous = TaskBuilder::__repeatable_future(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut f));
        async move { result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) }
    })
    .retries(retries);
    [thread.supervisor(sup).start(), asynchronous.supervisor(sup).start()]
}

#[test]
fn panicking_task_is_retried() {
    for failures in 0..4 {
        let sup = pool(1);
        for kind in 0..2 {
            let runs = Arc::new(AtomicU32::new(0));
            let task = {
                let [thread, asynchronous] = later(&sup, &Arc::default(), 0, 0);
                thread.join().unwrap();
                asynchronous.join().unwrap();
                let builder = match kind {
                    0 => TaskBuilder::repeatable(fails(&runs, failures)),
                    _ => {
                        let mut f = fails(&runs, failures);
                        TaskBuilder::__repeatable_future(move || std::future::ready(f()))
                    }
                };
                builder.retries(2).supervisor(&sup).start()
            };
            let result = task.wait().cloned();
            let expected = failures.min(2) + 1;
            assert_eq!(runs.load(Ordering::SeqCst), expected);
            assert_eq!(task.info().attempt, expected);
            match failures {
                3 => assert!(result.unwrap_err().to_string().contains("run 3 fails")),
                _ => assert_eq!(result.unwrap(), expected),
            }
        }
    }
}

#[test]
fn panicking_future_is_recreated() {
    let sup = pool(1);
    let runs = Arc::new(AtomicU32::new(0));
    for task in later(&sup, &runs, 2, 5) {
        task.join().unwrap();
    }
    assert_eq!(runs.load(Ordering::SeqCst), 4, "three runs of one task, one of the other");
}

#[test]
fn concurrently_failing_futures_are_retried() {
    // A run may end before the launch of its future has returned.
    let sup = pool(1);
    sup.create_aloop_multi("default", 2);
    for _ in 0..500 {
        let mut run = 0;
        let task = TaskBuilder::__repeatable_future(move || {
            run += 1;
            let run = run;
            async move {
                assert!(run > 2);
                run
            }
        })
        .retries(2)
        .supervisor(&sup)
        .start();
        assert_eq!(task.join().unwrap(), 3);
    }
}

#[test]
fn retry_if_retries_result() {
    let sup = pool(1);
    let asked = Arc::new(Mutex::new(Vec::new()));
    for (retries, expected) in [(0, 1), (2, 3), (9, 5)] {
        let mut runs = 0;
        let asks = Arc::clone(&asked);
        asked.lock().unwrap().clear();
        let task = TaskBuilder::repeatable(move || {
            runs += 1;
            runs
        })
        .retries(retries)
        .retry_if(move |run| {
            asks.lock().unwrap().push(*run);
            *run < 5
        })
        .supervisor(&sup)
        .start();
        assert_eq!(task.join().unwrap(), expected, "the last result counts");
        // Once for each run that can be followed by another one.
        let possible: Vec<_> = (1..=expected).filter(|run| *run <= retries).collect();
        assert_eq!(*asked.lock().unwrap(), possible);
    }
}

#[test]
fn predicate_is_called_once_per_run() {
    // Alternating answers: two answers about one result would contradict each other.
    for first in [false, true] {
        let sup = pool(1);
        let answer = AtomicBool::new(first);
        let runs = Arc::new(AtomicU32::new(0));
        let task = TaskBuilder::repeatable(fails(&runs, 0))
            .retries(10)
            .retry_if(move |_| answer.fetch_xor(true, Ordering::SeqCst))
            .supervisor(&sup)
            .start();
        assert_eq!(task.join().unwrap(), if first { 2 } else { 1 });
    }
}

#[test]
fn panicking_predicate_ends_retries() {
    let sup = pool(1);
    let runs = Arc::new(AtomicU32::new(0));
    let task = TaskBuilder::repeatable(fails(&runs, 0))
        .retries(3)
        .retry_if(|_| panic!("undecided"))
        .supervisor(&sup)
        .start();
    assert_eq!(task.join().unwrap(), 1);
}

#[test]
fn predicate_may_use_task_and_launch() {
    let sup = pool(1);
    let inner = sup.clone();
    let runs = Arc::new(AtomicU32::new(0));
    let task = TaskBuilder::repeatable(fails(&runs, 0))
        .retries(3)
        .retry_if(move |run| inner.spawn(|| 2).join().unwrap() > *run)
        .supervisor(&sup)
        .start();
    assert_eq!(task.join().unwrap(), 2);
}

#[test]
fn fn_once_runs_once() {
    let sup = pool(1);
    let task: Task<()> =
        TaskBuilder::new(|| panic!("deliberate panic")).retries(3).supervisor(&sup).start();
    assert!(task.wait().unwrap_err().is_panic());
    assert_eq!(task.info().attempt, 1);
    let task: Task<()> = TaskBuilder::future(async { panic!("deliberate panic") })
        .retries(3)
        .supervisor(&sup)
        .start();
    assert!(task.wait().unwrap_err().is_panic());
    assert_eq!(task.info().attempt, 1);
}

#[test]
fn retry_after_timeout_waits_for_old_run() {
    let sup = pool(4);
    let running = Arc::new(AtomicU32::new(0));
    let (overdue, gate) = (Gate::new(), Gate::new());
    let (tells, waits, counts) = (overdue.clone(), gate.clone(), Arc::clone(&running));
    let task = TaskBuilder::<u32>::__repeatable_with_context(move |ctx: &TaskContext| {
        assert_eq!(counts.fetch_add(1, Ordering::SeqCst), 0, "two runs at once");
        let attempt = ctx.attempt();
        if attempt == 1 {
            assert_eq!(ctx.recv(), Err(RecvError::Stopped), "an expired limit requests a stop");
            tells.open();
            waits.wait();
        }
        assert_eq!(ctx.stopped(), attempt == 1);
        counts.fetch_sub(1, Ordering::SeqCst);
        attempt
    })
    .timeout(Duration::from_millis(300))
    .retries(3)
    .supervisor(&sup)
    .start();
    overdue.wait();
    eventually(|| !sup.info().thread_pool.overstayed.is_empty());
    // The limit has expired; the error is not published, because another attempt follows.
    assert!(!task.is_completed());
    assert_eq!(task.info().attempt, 1);
    gate.open();
    let attempt = task.wait().cloned();
    // A later attempt is fast enough, unless the machine is very slow.
    assert!(attempt.is_ok_and(|attempt| attempt >= 2));
}

#[test]
fn error_is_published_after_last_run() {
    let sup = pool(1);
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let waits = gates.clone();
    let mut run = 0;
    let task = TaskBuilder::<()>::repeatable(move || {
        waits[run].wait();
        run += 1;
        panic!("run {run}");
    })
    .retries(2)
    .supervisor(&sup)
    .start();
    for (run, gate) in gates.iter().enumerate() {
        eventually(|| task.info().attempt as usize == run + 1);
        assert!(!task.is_completed() && task.error().is_none());
        assert!(sup.task(task.id()).is_some());
        gate.open();
    }
    assert!(task.join().unwrap_err().to_string().contains("run 3"));
}

#[test]
fn timed_out_future_is_retried() {
    let sup = pool(1);
    let mut run = 0;
    let task = TaskBuilder::__repeatable_future(move || {
        run += 1;
        let run = run;
        async move {
            if run < 3 {
                std::future::pending::<()>().await;
            }
            run
        }
    })
    .timeout(Duration::from_millis(200))
    .retries(5)
    .supervisor(&sup)
    .start();
    assert!(task.join().unwrap() >= 3);
    let task = TaskBuilder::__repeatable_future(std::future::pending::<()>)
        .timeout(Duration::from_millis(10))
        .retries(2)
        .supervisor(&sup)
        .start();
    assert!(task.wait().unwrap_err().is_timeout());
    assert_eq!(task.info().attempt, 3);
}

#[test]
fn limit_applies_per_run() {
    // Runs that take about as long as the limit: some end by the limit, some by themselves. None
    // may be asked to stop before its own limit.
    let sup = pool(1);
    let limit = Duration::from_millis(2);
    let early = Arc::new(AtomicU32::new(0));
    for kind in 0..2 {
        for _ in 0..40 {
            let counts = Arc::clone(&early);
            let builder = match kind {
                0 => TaskBuilder::__repeatable_with_context(move |ctx: &TaskContext| {
                    let stopped = ctx.stopped() || ctx.try_recv() == Err(RecvError::Stopped);
                    counts.fetch_add(u32::from(stopped), Ordering::SeqCst);
                    ctx.wait_stop(limit);
                    panic!("again");
                }),
                _ => {
                    TaskBuilder::<()>::__repeatable_future_with_context(move |ctx: TaskContext| {
                        let counts = Arc::clone(&counts);
                        async move {
                            let stopped =
                                ctx.stopped() || ctx.try_recv() == Err(RecvError::Stopped);
                            counts.fetch_add(u32::from(stopped), Ordering::SeqCst);
                            tokio::time::sleep(limit).await;
                            panic!("again");
                        }
                    })
                }
            };
            // Far from the limit when it begins, so an early stop belongs to another run.
            let task = builder.timeout(limit * 2).retries(5).supervisor(&sup).start();
            assert!(task.join().is_err());
        }
    }
    // On a busy machine a run may be late by more than its limit, but only rarely.
    let early = early.load(Ordering::SeqCst);
    assert!(early < 24, "{early} of 480 runs were stopped before they began");
}

#[test]
fn task_waiting_for_retry_occupies_no_slot() {
    let sup = pool(1);
    let runs = Arc::new(AtomicU32::new(0));
    let task = TaskBuilder::repeatable(fails(&runs, 9))
        .retries(9)
        .retry_delay(LONG)
        .supervisor(&sup)
        .start();
    eventually(|| task.status() == TaskStatus::Delayed);
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    eventually(|| sup.info().thread_pool.running == 0);
    assert!(task.cancel());
}

#[test]
fn retry_is_delayed_and_queued_by_priority() {
    let sup = pool(1);
    let delay = Duration::from_millis(30);
    let times = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&times);
    let task = TaskBuilder::<()>::repeatable(move || {
        notes.lock().unwrap().push(std::time::Instant::now());
        panic!("again")
    })
    .retries(2)
    .retry_delay(delay)
    .supervisor(&sup)
    .start();
    assert!(task.join().is_err());
    let times = times.lock().unwrap();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= delay));
}

#[test]
fn stop_or_cancel_prevents_retry() {
    let sup = pool(1);
    for cancel in [false, true] {
        let (begun, gate) = (Gate::new(), Gate::new());
        let (begins, waits) = (begun.clone(), gate.clone());
        let task = TaskBuilder::<()>::repeatable(move || {
            begins.open();
            waits.wait();
            panic!("deliberate panic")
        })
        .retries(5)
        .supervisor(&sup)
        .start();
        begun.wait();
        match cancel {
            true => assert!(!task.cancel()),
            false => task.stop(),
        }
        gate.open();
        assert!(task.wait().unwrap_err().is_panic());
        assert_eq!(task.info().attempt, 1);
    }
}

#[test]
fn arguments_are_dropped_before_end_is_published() {
    struct Held(Arc<()>);
    let sup = pool(1);
    let held = Arc::new(());
    for failures in [0, 1, 9] {
        let runs = Arc::new(AtomicU32::new(0));
        let (args, mut f) = (Held(Arc::clone(&held)), fails(&runs, failures));
        let task = TaskBuilder::repeatable(move || {
            let _args = &args.0;
            f()
        })
        .retries(2)
        .supervisor(&sup)
        .start();
        let _ = task.wait();
        assert_eq!(Arc::strong_count(&held), 1, "thread, {failures}");
        let (args, mut f) = (Held(Arc::clone(&held)), fails(&runs, failures));
        let task = TaskBuilder::__repeatable_future(move || {
            let args = Arc::clone(&args.0);
            let run = f();
            async move {
                let _args = args;
                run
            }
        })
        .retries(2)
        .supervisor(&sup)
        .start();
        let _ = task.wait();
        assert_eq!(Arc::strong_count(&held), 1, "async, {failures}");
    }
    // The same for canceled tasks.
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let args = Held(Arc::clone(&held));
    let task = sup.spawn(move || drop(args));
    assert!(task.cancel());
    assert_eq!(Arc::strong_count(&held), 1);
    gate.open();
    busy.join().unwrap();
}

#[test]
fn supervisor_stop_completes_retries() {
    let sup = pool(1);
    let runs = Arc::new(AtomicU32::new(0));
    let task = TaskBuilder::repeatable(fails(&runs, 3))
        .retries(3)
        .retry_delay(Duration::from_millis(10))
        .supervisor(&sup)
        .start();
    sup.stop(StopOptions::new());
    assert!(task.is_completed());
    assert_eq!(task.join().unwrap(), 4);
}
