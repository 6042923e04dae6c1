//! Jobs of which one program of the cluster makes each run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use atasker::{Cluster, IntervalWorker, Job};

use crate::{join, until};

const PERIOD: Duration = Duration::from_millis(50);

#[test]
fn one_member_makes_each_run() {
    let first = Cluster::in_memory();
    let clusters: Vec<_> = (0..3).map(|n| first.member(&format!("member {n}"))).collect();
    let sups: Vec<_> = clusters.iter().map(join).collect();
    let (sender, runs) = mpsc::channel();
    let jobs: Vec<_> = clusters
        .iter()
        .zip(&sups)
        .map(|(cluster, sup)| {
            let sender = sender.clone();
            let every = Job::every(PERIOD).once_per_cluster(cluster, "tick");
            sup.create_job(every, move || sender.send(std::time::SystemTime::now()).unwrap())
        })
        .collect();
    let times: Vec<_> = runs.iter().take(10).collect();
    jobs.iter().for_each(|job| job.cancel());
    // Ten runs of ten ticks: three programs that each made every run would need four ticks.
    let took = times[9].duration_since(times[0]).unwrap();
    assert!(took > PERIOD * 7, "{took:?}");
}

#[test]
fn interval_worker_runs_once_and_triggers_always() {
    let first = Cluster::in_memory();
    let hour = Duration::from_secs(3600);
    let runs = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..2)
        .map(|n| {
            let cluster = first.member(&format!("member {n}"));
            let runs = Arc::clone(&runs);
            IntervalWorker::builder(hour).once_per_cluster(&cluster, "hourly").run(move |_| {
                runs.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    workers.iter().for_each(|worker| assert!(worker.start()));
    // Not the first run at once, because the next whole hour is the first tick.
    workers.iter().for_each(|worker| assert!(worker.trigger()));
    until("both have run", || runs.load(Ordering::SeqCst) == 2);
    workers.iter().for_each(|worker| worker.stop());
}

#[test]
fn run_is_skipped_without_the_broker() {
    let cluster = Cluster::in_memory();
    let sup = join(&cluster);
    cluster.faults().stop_broker();
    let (sender, runs) = mpsc::channel();
    let every = Job::every(PERIOD).once_per_cluster(&cluster, "tick");
    let job = sup.create_job(every, move || sender.send(()).unwrap());
    assert_eq!(runs.recv_timeout(PERIOD * 4), Err(mpsc::RecvTimeoutError::Timeout));
    cluster.faults().start_broker();
    runs.recv().unwrap();
    job.cancel();
}

#[test]
#[should_panic(expected = "not `Job::once`")]
fn single_run_has_no_common_clock() {
    let _ = Job::once(PERIOD).once_per_cluster(&Cluster::in_memory(), "never");
}

#[test]
#[should_panic(expected = "pauses after runs differ")]
fn pauses_have_no_common_clock() {
    let _ = IntervalWorker::with_delay(PERIOD).once_per_cluster(&Cluster::in_memory(), "never");
}
