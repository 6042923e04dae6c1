//! When do jobs run, how often, and how do they end?

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use atasker::{Job, PoolConfig, StopOptions, Supervisor};
use atasker_tests::{FAR, Gate, Watchdog, eventually, pool};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn job_runs_given_number_of_times() {
    let sup = pool(2);
    let (tx, rx) = mpsc::channel();
    let job = sup.create_job(Job::every(SHORT).times(3), move || tx.send(()).unwrap());
    // The function is dropped with the last run, although the handle still exists.
    assert_eq!(rx.iter().count(), 3);
    eventually(|| !job.is_active());
    assert_eq!(job.runs(), 3);
    assert!(job.last_executed().is_some());
    eventually(|| sup.info().jobs.is_empty());
}

#[test]
fn first_run_is_immediate_or_delayed() {
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
fn job_runs_once() {
    let sup = pool(2);
    let job = sup.create_job(Job::once(SHORT).name("egg"), || ());
    assert_eq!(job.name(), "egg");
    eventually(|| !job.is_active());
    assert_eq!(job.runs(), 1);
}

#[test]
fn cron_job_runs_on_the_second() {
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
#[should_panic(expected = "`soon` is not a cron expression")]
fn invalid_cron_expression_panics_at_caller() {
    let _ = Job::cron("soon");
}

#[test]
fn canceled_job_does_not_run() {
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
fn long_run_does_not_overlap() {
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
    // Other tasks run meanwhile. The first job skips the runs that are due.
    let other = sup.create_job(Job::every(Duration::from_millis(1)).times(20), || ());
    eventually(|| !other.is_active());
    assert_eq!(job.runs(), 0);
    gate.open();
    eventually(|| job.runs() > 3);
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn async_job_functions_run() {
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
fn errors_are_counted_and_false_stops() {
    let sup = pool(2);
    let mut run = 0;
    let job = sup.create_job(Job::every(SHORT), move || {
        run += 1;
        assert!(run != 1, "the first one fails");
        if run == 2 { Err("the second one fails") } else { Ok(run < 4) }
    });
    eventually(|| sup.info().jobs.is_empty());
    assert_eq!(job.runs(), 4);
    assert!(!job.is_active());
}

#[test]
fn stopped_supervisor_ends_jobs() {
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
fn hundred_thousand_jobs_run() {
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
