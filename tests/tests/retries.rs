//! When does a task run again, and what is seen of it?

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{
    Priority, RecvError, StopOptions, Supervisor, Task, TaskBuilder, TaskContext, TaskStatus,
};
use atasker_tests::{Gate, eventually, occupy, pool};

const LONG: Duration = Duration::from_secs(3600);

/// Counts runs; panics in the first `failures` of them.
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
fn a_panic_is_followed_by_another_run_while_retries_last() {
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
fn a_future_that_panics_while_it_is_polled_is_made_again() {
    let sup = pool(1);
    let runs = Arc::new(AtomicU32::new(0));
    for task in later(&sup, &runs, 2, 5) {
        task.join().unwrap();
    }
    assert_eq!(runs.load(Ordering::SeqCst), 4, "three by one of them, one by the other");
}

#[test]
fn many_futures_that_fail_at_once_all_run_again() {
    // A run may be over before the launch of its future has returned.
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
fn a_result_may_call_for_another_run() {
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
        // Once for each run after which another one is possible.
        let possible: Vec<_> = (1..=expected).filter(|run| *run <= retries).collect();
        assert_eq!(*asked.lock().unwrap(), possible);
    }
}

#[test]
fn a_predicate_with_a_mind_of_its_own_is_asked_once_a_run() {
    // No, yes, no, yes...: two answers about one result would contradict each other.
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
fn a_predicate_that_panics_wants_no_other_run() {
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
fn a_predicate_may_use_the_task_and_launch_others() {
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
fn what_can_run_once_runs_once() {
    let sup = pool(1);
    let task: Task<()> = TaskBuilder::new(|| panic!("no luck")).retries(3).supervisor(&sup).start();
    assert!(task.wait().unwrap_err().is_panic());
    assert_eq!(task.info().attempt, 1);
    let task: Task<()> =
        TaskBuilder::future(async { panic!("no luck") }).retries(3).supervisor(&sup).start();
    assert!(task.wait().unwrap_err().is_panic());
    assert_eq!(task.info().attempt, 1);
}

#[test]
fn after_a_time_out_a_new_run_starts_only_when_the_old_one_has_returned() {
    let sup = pool(4);
    let running = Arc::new(AtomicU32::new(0));
    let (overstays, gate) = (Gate::new(), Gate::new());
    let (tells, waits, counts) = (overstays.clone(), gate.clone(), Arc::clone(&running));
    let task = TaskBuilder::<u32>::__repeatable_with_context(move |ctx: &TaskContext| {
        assert_eq!(counts.fetch_add(1, Ordering::SeqCst), 0, "two runs at once");
        let attempt = ctx.attempt();
        if attempt == 1 {
            assert_eq!(ctx.recv(), Err(RecvError::Stopped), "the end of the time asks it to stop");
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
    overstays.wait();
    eventually(|| !sup.info().thread_pool.overstayed.is_empty());
    // Its time is over, its error not published, for another attempt follows.
    assert!(!task.is_completed());
    assert_eq!(task.info().attempt, 1);
    gate.open();
    let attempt = task.wait().cloned();
    // A later attempt is quick, unless the machine is very slow.
    assert!(attempt.is_ok_and(|attempt| attempt >= 2));
}

#[test]
fn the_error_is_published_after_the_last_run() {
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
fn timed_out_futures_run_again() {
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
fn a_limit_of_one_run_never_counts_for_the_next() {
    // Runs of just about the limit: some end by it, some by themselves. None may be told to stop
    // before its own time.
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
            // Far from the limit when it begins, so an early stop is not its own.
            let task = builder.timeout(limit * 2).retries(5).supervisor(&sup).start();
            assert!(task.join().is_err());
        }
    }
    // A run may be late by more than its limit on a busy machine, but hardly ever.
    let early = early.load(Ordering::SeqCst);
    assert!(early < 24, "{early} of 480 runs were stopped before they began");
}

#[test]
fn a_task_that_waits_to_retry_holds_no_slot() {
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
fn a_retry_waits_for_its_delay_and_takes_its_turn() {
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
fn a_stop_or_cancel_during_a_run_forbids_another() {
    let sup = pool(1);
    for cancel in [false, true] {
        let (begun, gate) = (Gate::new(), Gate::new());
        let (begins, waits) = (begun.clone(), gate.clone());
        let task = TaskBuilder::<()>::repeatable(move || {
            begins.open();
            waits.wait();
            panic!("no luck")
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
fn arguments_are_free_before_the_end_is_seen() {
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
    // Canceled ones, too.
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let args = Held(Arc::clone(&held));
    let task = sup.spawn(move || drop(args));
    assert!(task.cancel());
    assert_eq!(Arc::strong_count(&held), 1);
    gate.open();
    busy.join().unwrap();
}

#[test]
fn a_stop_of_the_supervisor_lets_retries_finish() {
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
