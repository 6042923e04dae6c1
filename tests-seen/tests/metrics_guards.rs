//! When does an export end, and what is written then?

use std::sync::{Arc, Mutex};

use atasker::{PoolConfig, Priority, Supervisor, Task, TaskBuilder};
use atasker_tests::{occupy, pool_with};
use atasker_tests_seen::metrics::{Keeps, recorder};

fn supervisor(id: &str) -> Supervisor {
    recorder();
    Supervisor::builder().id(id).thread_pool(PoolConfig::new(2)).build()
}

fn short(sup: &Supervisor) -> Task<()> {
    TaskBuilder::new(|| ()).name("short").supervisor(sup).start()
}

fn launched(id: &str) -> f64 {
    let of = format!("supervisor={id},tt=thread,name=short,priority=normal");
    recorder().get(&format!("atasker_tasks_launched_total{{{of}}}")).value
}

fn gauges(id: &str) -> Vec<(String, f64)> {
    let all = recorder().series(id).into_iter().map(|(name, series)| (name, series.value));
    all.filter(|(name, _)| !name.contains("_total") && !name.contains("_seconds")).collect()
}

#[test]
fn dropped_guard_writes_what_is_due_and_sets_gauges_to_0() {
    let sup = supervisor("dropped");
    let export = sup.export_metrics();
    let (task, gate) = occupy(&sup, Priority::Normal);
    recorder().wait("atasker_tasks_running{supervisor=dropped,tt=thread}", 1.0);
    short(&sup).join().unwrap();
    drop(export);
    assert_eq!(launched("dropped"), 1.0);
    let left = gauges("dropped");
    assert!(left.len() >= 10 && left.iter().all(|(_, value)| *value == 0.0), "{left:?}");
    // Nothing is written any more.
    let writes: usize = recorder().series("dropped").values().map(|s| s.writes.len()).sum();
    gate.open();
    task.join().unwrap();
    short(&sup).join().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_000));
    let after: usize = recorder().series("dropped").values().map(|s| s.writes.len()).sum();
    assert_eq!(writes, after);
}

#[test]
fn end_of_the_supervisor_writes_what_is_due_and_sets_gauges_to_0() {
    let sup = supervisor("ended");
    sup.export_metrics().keep();
    recorder().wait("atasker_slots{supervisor=ended,tt=thread}", 2.0);
    let task = short(&sup);
    drop(sup);
    task.join().unwrap();
    recorder().wait("atasker_slots{supervisor=ended,tt=thread}", 0.0);
    let of = "supervisor=ended,tt=thread,name=short";
    recorder().wait(&format!("atasker_tasks_completed_total{{{of},outcome=ok}}"), 1.0);
    assert!(gauges("ended").iter().all(|(_, value)| *value == 0.0));
}

#[test]
fn guard_that_outlives_the_supervisor_does_nothing() {
    let sup = supervisor("outlived");
    let export = sup.export_metrics();
    short(&sup).join().unwrap();
    drop(sup);
    recorder().wait("atasker_slots{supervisor=outlived,tt=thread}", 0.0);
    drop(export);
    assert_eq!(launched("outlived"), 1.0);
}

#[test]
fn second_export_counts_nothing_twice_and_the_last_guard_ends_it() {
    let sup = supervisor("twice");
    let (first, second) = (sup.export_metrics(), sup.export_metrics());
    short(&sup).join().unwrap();
    drop(first);
    short(&sup).join().unwrap();
    drop(second);
    assert_eq!(launched("twice"), 2.0);
    short(&sup).join().unwrap();
    // A new export counts on.
    let third = sup.export_metrics();
    short(&sup).join().unwrap();
    drop(third);
    assert_eq!(launched("twice"), 3.0);
}

#[test]
fn kept_export_stays_after_another_guard_is_dropped() {
    let sup = supervisor("kept");
    sup.export_metrics().keep();
    drop(sup.export_metrics());
    short(&sup).join().unwrap();
    let of = "supervisor=kept,tt=thread,name=short,priority=normal";
    recorder().wait(&format!("atasker_tasks_launched_total{{{of}}}"), 1.0);
}

#[test]
fn many_threads_export_one_supervisor() {
    let sup = supervisor("concurrent");
    for _ in 0..50 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let export = sup.export_metrics();
                    short(&sup).join().unwrap();
                    drop(export);
                });
            }
        });
    }
    assert_eq!(launched("concurrent"), 200.0);
    let _last = sup.export_metrics();
    recorder().wait("atasker_slots{supervisor=concurrent,tt=thread}", 2.0);
}

#[test]
fn local_recorder_gets_nothing() {
    let local = Keeps::default();
    metrics::with_local_recorder(&local, || {
        let sup = supervisor("local");
        let export = sup.export_metrics();
        short(&sup).join().unwrap();
        drop(export);
    });
    assert_eq!(launched("local"), 1.0);
    assert_eq!(local.calls(), 0);
}

#[test]
fn export_can_end_within_an_observer() {
    let sup = pool_with(PoolConfig::new(1));
    recorder();
    let export = Arc::new(Mutex::new(Some(sup.export_metrics())));
    struct Ends(Arc<Mutex<Option<atasker::ObserverGuard>>>);
    impl atasker::Observer for Ends {
        fn ended(&self, _: &atasker::TaskEvent<'_>, _: Result<(), &atasker::TaskError>) {
            drop(self.0.lock().unwrap().take());
        }
    }
    let _observes = sup.observe(Ends(Arc::clone(&export)));
    short(&sup).join().unwrap();
    assert!(export.lock().unwrap().is_none());
    assert_eq!(launched("t"), 1.0);
}
