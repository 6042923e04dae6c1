//! What jobs do: when they run, how often, and how they end.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use atasker::{Job, PoolConfig, StopOptions, Supervisor};
use atasker_tests::{FAR, Gate, Watchdog, eventually, pool};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn so_many_times_and_then_over() {
    let sup = pool(2);
    let (tx, rx) = mpsc::channel();
    let job = sup.create_job(Job::every(SHORT).times(3), move || tx.send(()).unwrap());
    // The function is dropped with the last run, although the handle is still there.
    assert_eq!(rx.iter().count(), 3);
    eventually(|| !job.is_active());
    assert_eq!(job.runs(), 3);
    assert!(job.last_executed().is_some());
    eventually(|| sup.info().jobs.is_empty());
}

#[test]
fn the_first_run_is_at_once_or_after_a_while() {
    let sup = pool(2);
    let at_once = sup.create_job(Job::every(LONG), || ());
    let later = sup.create_job(Job::every(LONG).after(LONG), || ());
    let soon = sup.create_job(Job::every(LONG).after(SHORT), || ());
    eventually(|| at_once.runs() == 1 && soon.runs() == 1);
    assert_eq!(later.runs(), 0);
    let info = sup.info();
    assert_eq!(info.jobs.len(), 3);
    assert!(info.jobs[1].next.unwrap() > std::time::SystemTime::now());
}

#[test]
fn once() {
    let sup = pool(2);
    let job = sup.create_job(Job::once(SHORT).name("egg"), || ());
    assert_eq!(job.name(), "egg");
    eventually(|| !job.is_active());
    assert_eq!(job.runs(), 1);
}

#[test]
fn a_cron_job_runs_on_the_second() {
    let sup = pool(2);
    let (tx, rx) = mpsc::channel();
    let job = sup.create_job(Job::cron("* * * * * *").times(2), move || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        tx.send(since).unwrap();
    });
    let seconds: Vec<u64> = rx.iter().map(|time| time.as_secs()).collect();
    assert_eq!(seconds.len(), 2);
    assert!(seconds[1] > seconds[0], "{seconds:?}");
    eventually(|| !job.is_active());
}

#[test]
#[should_panic(expected = "`soon` is no cron expression")]
fn a_bad_cron_expression_panics_where_it_is_written() {
    let _ = Job::cron("soon");
}

#[test]
fn a_canceled_job_runs_no_more() {
    let sup = pool(2);
    let job = sup.create_job(Job::every(SHORT), || ());
    eventually(|| job.runs() > 2);
    job.cancel();
    assert!(!job.is_active());
    eventually(|| sup.info().jobs.is_empty());
    let never = sup.create_job(Job::once(LONG), || unreachable!());
    never.cancel();
    eventually(|| sup.info().jobs.is_empty());
    assert_eq!(never.runs(), 0);
}

#[test]
fn a_job_that_takes_long_is_not_started_twice() {
    let _watchdog = Watchdog::new("a long job", FAR);
    let sup = pool(4);
    let (gate, running, most) =
        (Gate::new(), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (hold, now, top) = (gate.clone(), Arc::clone(&running), Arc::clone(&most));
    let job = sup.create_job(Job::every(Duration::from_millis(1)), move || {
        top.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        hold.wait();
        now.fetch_sub(1, Ordering::SeqCst);
    });
    eventually(|| running.load(Ordering::SeqCst) == 1);
    // Others pass by meanwhile, so many turns are missed.
    let other = sup.create_job(Job::every(Duration::from_millis(1)).times(20), || ());
    eventually(|| !other.is_active());
    assert_eq!(job.runs(), 0);
    gate.open();
    eventually(|| job.runs() > 3);
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn async_functions_and_closures() {
    let sup = pool(2);
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let first = sup.create_job(Job::every(SHORT).times(3), move || {
        let counter = Arc::clone(&counter);
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let second = sup.create_job(Job::every(SHORT).times(2).aloop("jobs"), async || {
        assert!(std::thread::current().name().unwrap().ends_with("_aloop_jobs"));
    });
    eventually(|| !first.is_active() && !second.is_active());
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert_eq!((first.runs(), second.runs()), (3, 2));
}

#[test]
fn errors_are_counted_and_false_ends_it() {
    let sup = pool(2);
    let mut run = 0;
    let job = sup.create_job(Job::every(SHORT), move || {
        run += 1;
        assert!(run != 1, "the first one fails");
        if run == 2 { Err("so does the second") } else { Ok(run < 4) }
    });
    eventually(|| sup.info().jobs.is_empty());
    assert_eq!(job.runs(), 4);
    assert!(!job.is_active());
}

#[test]
fn jobs_end_with_their_supervisor() {
    let sup = pool(2);
    let job = sup.create_job(Job::every(SHORT), || ());
    eventually(|| job.runs() > 1);
    sup.stop(StopOptions::new());
    assert!(!job.is_active());
    let runs = job.runs();
    let late = sup.create_job(Job::every(SHORT), || ());
    assert!(!late.is_active());
    assert_eq!((job.runs(), late.runs()), (runs, 0));
}

#[test]
fn a_hundred_thousand_jobs() {
    let _watchdog = Watchdog::new("a hundred thousand jobs", 3 * FAR);
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    let ran = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let jobs: Vec<_> = (0..100_000u64)
        .map(|n| {
            let ran = Arc::clone(&ran);
            let after = if n % 10 == 0 { Duration::ZERO } else { LONG };
            sup.create_job(Job::every(LONG).after(after), move || {
                ran.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    let created = started.elapsed();
    eventually(|| ran.load(Ordering::Relaxed) == 10_000);
    assert_eq!(sup.info().jobs.len(), 100_000);
    let started = Instant::now();
    for job in &jobs {
        job.cancel();
    }
    println!("created in {created:?}, canceled in {:?}", started.elapsed());
    eventually(|| sup.info().jobs.is_empty());
}
