//! Do background workers and jobs go by a paused clock?

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use atasker::{
    BackgroundRun, EventWorker, IntervalWorker, Job, LoopWorker, Observer, Overrun, QueueWorker,
    WorkerContext, background_worker, testing,
};
use atasker_tests::{Gate, eventually, mp, pool};

const HOUR: Duration = Duration::from_secs(3600);
const NANO: Duration = Duration::from_nanos(1);

/// Counts, and its function.
fn counter() -> (Arc<AtomicU64>, impl Fn() + Clone + Send + Sync + 'static) {
    let count = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&count);
    (count, move || _ = counts.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn five_intervals_in_one_advance_are_five_runs() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let (count, counts) = counter();
    let worker = IntervalWorker::builder(HOUR).supervisor(&sup).run(move |_| {
        std::thread::sleep(Duration::from_millis(2));
        counts();
    });
    worker.start();
    // The first run is at the start.
    clock.advance(HOUR * 5);
    assert_eq!(count.load(Ordering::Relaxed), 6);
    clock.advance(HOUR - NANO);
    assert_eq!(count.load(Ordering::Relaxed), 6);
    clock.advance(NANO);
    assert_eq!((count.load(Ordering::Relaxed), worker.runs()), (7, 7));
    worker.stop();
    clock.advance(HOUR * 5);
    assert_eq!(worker.runs(), 7);
}

#[background_worker(interval = "1h", tt = "mp", process_result = record)]
fn in_process(ctx: &WorkerContext) -> u64 {
    ctx.runs()
}

static RECORDED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn record(run: &u64) {
    RECORDED.lock().unwrap().push(*run);
}

#[background_worker(delay = "1h", delay_before = "30m")]
async fn on_aloop(count: Arc<AtomicU64>) {
    tokio::time::sleep(Duration::from_millis(2)).await;
    count.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn workers_of_every_kind_run_at_their_times() {
    let sup = atasker::supervisor();
    mp::run_pid(sup);
    let clock = testing::pause(sup);
    let count = Arc::new(AtomicU64::new(0));
    let (process, aloop) = (in_process(), on_aloop(Arc::clone(&count)));
    process.start();
    aloop.start();
    clock.advance(HOUR / 2 - NANO);
    assert_eq!((process.runs(), count.load(Ordering::Relaxed)), (1, 0));
    clock.advance(NANO);
    assert_eq!((process.runs(), count.load(Ordering::Relaxed)), (1, 1));
    // `delay_before` precedes each run.
    clock.advance(HOUR * 3);
    assert_eq!((process.runs(), count.load(Ordering::Relaxed)), (4, 3));
    process.stop();
    aloop.stop();
    assert_eq!(*RECORDED.lock().unwrap(), [0, 1, 2, 3]);
}

#[test]
fn worker_that_was_started_before_goes_on() {
    let sup = pool(1);
    let (gate, begun) = (Gate::new(), Gate::new());
    let (waits, begins) = (gate.clone(), begun.clone());
    let worker = IntervalWorker::builder(HOUR).supervisor(&sup).run(move |_| {
        begins.open();
        waits.wait();
    });
    worker.start();
    begun.wait();
    let clock = testing::pause(&sup);
    // Its first run is still in progress, and sets the timer when it ends.
    gate.open();
    clock.advance(HOUR * 3);
    assert_eq!(worker.runs(), 4);
}

#[test]
fn overrun_counts_by_the_clock() {
    for (overrun, runs) in [(Overrun::Skip, 3), (Overrun::Burst, 5)] {
        let sup = pool(1);
        let clock = testing::pause(&sup);
        let gate = Gate::new();
        let waits = gate.clone();
        let worker =
            IntervalWorker::builder(HOUR).overrun(overrun).supervisor(&sup).run(move |ctx| {
                if ctx.runs() == 1 {
                    waits.wait()
                }
            });
        worker.start();
        // The second run does not end for three and a half hours.
        clock.advance(HOUR * 4 + HOUR / 2);
        assert_eq!(worker.runs(), 1);
        gate.open();
        eventually(|| worker.runs() >= runs - 1);
        clock.advance(HOUR / 2 + NANO);
        // Skip: the one at 5 hours. Burst: those at 2, 3, 4 and 5 hours.
        let made_up = if overrun == Overrun::Burst { 6 } else { 3 };
        assert_eq!(worker.runs(), made_up, "{overrun:?}");
    }
}

#[test]
fn triggered_run_keeps_the_interval() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let worker = IntervalWorker::builder(HOUR).supervisor(&sup).run(|_| ());
    worker.start();
    clock.advance(HOUR / 2);
    worker.trigger();
    clock.advance(HOUR / 2 - NANO);
    assert_eq!(worker.runs(), 2);
    clock.advance(NANO);
    assert_eq!(worker.runs(), 3);
}

#[test]
fn runs_that_a_run_causes_have_ended() {
    let sup = pool(2);
    let clock = testing::pause(&sup);
    let (items, takes) = counter();
    let queue = QueueWorker::builder().supervisor(&sup).run(move |_, _item: u8| {
        std::thread::sleep(Duration::from_millis(2));
        takes();
    });
    queue.start();
    let (events, notices) = counter();
    let event = EventWorker::builder().supervisor(&sup).run(move |_| notices());
    event.start();
    let worker = IntervalWorker::builder(HOUR).supervisor(&sup).run(move |_| {
        queue.put(1).unwrap();
        event.trigger();
    });
    worker.start();
    for hour in 1..10 {
        clock.advance(HOUR);
        let counts = (items.load(Ordering::Relaxed), events.load(Ordering::Relaxed));
        assert_eq!(counts, (hour + 1, hour + 1));
    }
}

#[test]
fn loop_worker_is_not_waited_for_again() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let worker = LoopWorker::builder().supervisor(&sup).run(|ctx: &WorkerContext| {
        ctx.wait_stop(Duration::from_millis(1));
    });
    worker.start();
    let begin = std::time::Instant::now();
    (0..100).for_each(|_| clock.advance(HOUR));
    assert!(begin.elapsed() < Duration::from_secs(20));
    worker.stop();
    assert!(worker.runs() > 0);
}

#[test]
fn jobs_run_at_their_times() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let (every, counts_every) = counter();
    let (once, counts_once) = counter();
    let (limited, counts_limited) = counter();
    let hourly = sup.create_job(Job::every(HOUR), counts_every);
    let single = sup.create_job(Job::once(HOUR * 2), move || {
        counts_once();
        async {}
    });
    let twice = sup.create_job(Job::every(HOUR).times(2).after(HOUR / 2), counts_limited);
    let counts = || [&every, &once, &limited].map(|count| count.load(Ordering::Relaxed));
    clock.advance(Duration::ZERO);
    assert_eq!(counts(), [1, 0, 0]);
    clock.advance(HOUR);
    assert_eq!(counts(), [2, 0, 1]);
    clock.advance(HOUR * 9);
    assert_eq!(counts(), [11, 1, 2]);
    assert!(hourly.is_active() && !single.is_active() && !twice.is_active());
    hourly.cancel();
    clock.advance(HOUR * 2);
    assert_eq!(hourly.runs(), 11);
}

#[test]
fn cron_job_goes_by_the_time_of_day_of_the_clock() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let (count, counts) = counter();
    // At every full minute.
    let job = sup.create_job(Job::cron("* * * * *"), counts);
    let first = sup.info().jobs[0].next.unwrap();
    clock.advance(Duration::from_secs(3600));
    assert_eq!((count.load(Ordering::Relaxed), job.runs()), (60, 60));
    // The next run is an hour later, while a second has hardly passed.
    let next = sup.info().jobs[0].next.unwrap();
    let later = next.duration_since(first).unwrap();
    assert!(later.abs_diff(HOUR) < Duration::from_secs(1), "{later:?}");
    assert!(next > SystemTime::now() + HOUR / 2);
    drop(clock);
    // The time of day stays ahead.
    let daily = sup.create_job(Job::cron("* * * * * *"), || ());
    eventually(|| daily.runs() > 0);
    job.cancel();
}

#[derive(Clone, Default)]
struct Lateness(Arc<Mutex<Vec<Duration>>>);

impl Observer for Lateness {
    fn background_run(&self, run: &BackgroundRun<'_>) {
        self.0.lock().unwrap().extend(run.lateness());
    }
}

#[test]
fn runs_are_not_late() {
    let sup = pool(1);
    let lateness = Lateness::default();
    let _observer = sup.observe(lateness.clone());
    let clock = testing::pause(&sup);
    let worker = IntervalWorker::builder(HOUR).supervisor(&sup).run(|_| ());
    worker.start();
    clock.advance(HOUR * 3);
    assert_eq!(*lateness.0.lock().unwrap(), [Duration::ZERO; 4]);
}

#[test]
fn worker_runs_on_when_the_guard_is_dropped() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let worker = IntervalWorker::builder(HOUR).supervisor(&sup).run(|_| ());
    worker.start();
    clock.advance(HOUR * 3 + HOUR - Duration::from_millis(50));
    assert_eq!(worker.runs(), 4);
    drop(clock);
    eventually(|| worker.runs() == 5);
    let clock = testing::pause(&sup);
    clock.advance(HOUR);
    assert_eq!(worker.runs(), 6);
}

#[test]
fn job_that_breaks_has_no_further_runs() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let (count, counts) = counter();
    let job = sup.create_job(Job::every(HOUR), move || {
        counts();
        count.load(Ordering::Relaxed) < 3
    });
    clock.advance(HOUR * 10);
    assert_eq!((job.runs(), job.is_active()), (3, false));
}
