//! Which counters and histograms do tasks have?

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, PoolConfig, Priority, StopOptions, Supervisor, TaskBuilder,
    background_task,
};
use atasker_tests::{FAR, mp, occupy};
use atasker_tests_seen::metrics::recorder;

/// A supervisor with this id, one pool thread and one worker process.
fn supervisor(id: &str) -> Supervisor {
    recorder();
    let sup = Supervisor::builder().id(id).thread_pool(PoolConfig::new(1));
    sup.mp_pool(MpPoolConfig::new(1)).build()
}

#[background_task(name = "doubled")]
fn doubled(n: u32) -> Result<u32, String> {
    if n == 0 { Err("nothing to double".into()) } else { Ok(2 * n) }
}

#[background_task(tt = "mp", name = "slept", priority = "low")]
fn slept(time: Duration) {
    std::thread::sleep(time);
}

#[background_task(tt = "mp", name = "died")]
fn died() {
    std::process::exit(3);
}

#[background_task(name = "awaited", priority = "critical")]
async fn awaited(gate: std::sync::Arc<tokio::sync::Notify>) {
    gate.notified().await;
}

#[test]
fn thread_tasks_are_counted_by_name_and_outcome() {
    let sup = supervisor("thread");
    let _export = sup.export_metrics();
    for n in [0, 1, 2] {
        let _ = doubled::builder(n).supervisor(&sup).start().join();
    }
    let panics = TaskBuilder::new(|| panic!("no luck")).name("panics").priority(Priority::High);
    panics.supervisor(&sup).start().join().unwrap_err();

    let seen = recorder();
    let of = "supervisor=thread,tt=thread";
    seen.wait(&format!("atasker_tasks_completed_total{{{of},name=panics,outcome=panicked}}"), 1.0);
    seen.wait(&format!("atasker_tasks_launched_total{{{of},name=doubled,priority=normal}}"), 3.0);
    seen.wait(&format!("atasker_tasks_launched_total{{{of},name=panics,priority=high}}"), 1.0);
    seen.wait(&format!("atasker_tasks_completed_total{{{of},name=doubled,outcome=ok}}"), 2.0);
    let err = format!("atasker_tasks_completed_total{{{of},name=doubled,outcome=returned_err}}");
    seen.wait(&err, 1.0);
    for metric in ["queue", "run"] {
        let metric = format!("atasker_task_{metric}_seconds");
        let values = seen.wait_values(&format!("{metric}{{{of},name=doubled,priority=normal}}"), 3);
        assert!(values.iter().all(|value| (0.0..60.0).contains(value)), "{values:?}");
        seen.wait_values(&format!("{metric}{{{of},name=panics,priority=high}}"), 1);
    }
    let retries = seen.series("thread").into_keys().filter(|name| name.contains("retries"));
    assert_eq!(retries.count(), 0);
}

#[test]
fn attempts_have_a_value_each_and_retries_are_counted() {
    let sup = supervisor("retries");
    let _export = sup.export_metrics();
    let attempts = AtomicU32::new(0);
    let fails_twice = TaskBuilder::repeatable(move || {
        assert!(attempts.fetch_add(1, Ordering::SeqCst) == 2, "not yet");
    });
    let pause = Duration::from_millis(300);
    let fails_twice = fails_twice.name("fails twice").retries(5).retry_delay(pause);
    fails_twice.supervisor(&sup).start().join().unwrap();

    let (seen, of) = (recorder(), "supervisor=retries,tt=thread,name=fails twice");
    seen.wait(&format!("atasker_task_retries_total{{{of}}}"), 2.0);
    seen.wait(&format!("atasker_tasks_launched_total{{{of},priority=normal}}"), 1.0);
    seen.wait(&format!("atasker_tasks_completed_total{{{of},outcome=ok}}"), 1.0);
    seen.wait_values(&format!("atasker_task_run_seconds{{{of},priority=normal}}"), 3);
    let queue = format!("atasker_task_queue_seconds{{{of},priority=normal}}");
    let queued = seen.wait_values(&queue, 3);
    // The sum of both pauses would be in it.
    assert!(queued.iter().sum::<f64>() < 0.6, "without the pauses: {queued:?}");
    assert_eq!(seen.series("retries").keys().filter(|name| name.contains("panicked")).count(), 0);
}

#[test]
fn run_time_is_that_of_the_function() {
    let sup = supervisor("times");
    let _export = sup.export_metrics();
    let (holder, gate) = occupy(&sup, Priority::Normal);
    let waits = TaskBuilder::new(|| ()).name("waits").supervisor(&sup).start();
    std::thread::sleep(Duration::from_millis(300));
    gate.open();
    holder.join().unwrap();
    waits.join().unwrap();
    let (seen, of) = (recorder(), "supervisor=times,tt=thread,priority=normal");
    let ran = seen.wait_values(&format!("atasker_task_run_seconds{{{of},name=occupying}}"), 1);
    let queued = seen.wait_values(&format!("atasker_task_queue_seconds{{{of},name=waits}}"), 1);
    assert!(ran[0] >= 0.3 && queued[0] >= 0.3, "{ran:?} {queued:?}");
}

#[test]
fn mp_tasks_are_counted_with_their_times() {
    let sup = supervisor("mp");
    let _export = sup.export_metrics();
    let time = Duration::from_millis(50);
    for _ in 0..3 {
        slept::builder(time).supervisor(&sup).start().join().unwrap();
    }
    let (seen, of) = (recorder(), "supervisor=mp,tt=mp,name=slept");
    seen.wait(&format!("atasker_tasks_launched_total{{{of},priority=low}}"), 3.0);
    seen.wait(&format!("atasker_tasks_completed_total{{{of},outcome=ok}}"), 3.0);
    let ran = seen.wait_values(&format!("atasker_task_run_seconds{{{of},priority=low}}"), 3);
    assert!(ran.iter().all(|time| (0.05..60.0).contains(time)), "{ran:?}");
    seen.wait_values(&format!("atasker_task_queue_seconds{{{of},priority=low}}"), 3);
}

#[test]
fn async_tasks_are_counted() {
    let sup = supervisor("async");
    let _export = sup.export_metrics();
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let task = awaited::builder(gate.clone()).supervisor(&sup).start();
    gate.notify_one();
    task.join().unwrap();
    let (seen, of) = (recorder(), "supervisor=async,tt=async,name=awaited");
    seen.wait(&format!("atasker_tasks_launched_total{{{of},priority=critical}}"), 1.0);
    seen.wait(&format!("atasker_tasks_completed_total{{{of},outcome=ok}}"), 1.0);
    seen.wait_values(&format!("atasker_task_run_seconds{{{of},priority=critical}}"), 1);
    seen.wait_values(&format!("atasker_task_queue_seconds{{{of},priority=critical}}"), 1);
}

#[test]
fn time_limits_kills_and_deaths_have_their_outcomes() {
    let sup = supervisor("ends");
    let _export = sup.export_metrics();
    let limited = slept::builder(FAR).name("limited").timeout(Duration::from_millis(200));
    assert!(limited.supervisor(&sup).start().join().unwrap_err().is_timeout());

    let (killed, _) = mp::occupy(&sup);
    killed.kill().unwrap();
    assert!(killed.join().unwrap_err().is_canceled());

    died::builder().supervisor(&sup).start().join().unwrap_err();

    let (holder, gate) = occupy(&sup, Priority::Normal);
    let canceled = TaskBuilder::new(|| ()).name("never").supervisor(&sup).start();
    canceled.cancel();
    gate.open();
    holder.join().unwrap();

    let (seen, completed) = (recorder(), "atasker_tasks_completed_total{supervisor=ends");
    seen.wait(&format!("{completed},tt=mp,name=limited,outcome=timed_out}}"), 1.0);
    seen.wait(
        &format!("{completed},tt=mp,name=atasker_tests::mp::until_stopped,outcome=canceled}}"),
        1.0,
    );
    seen.wait(&format!("{completed},tt=mp,name=died,outcome=worker_died}}"), 1.0);
    seen.wait(&format!("{completed},tt=thread,name=never,outcome=canceled}}"), 1.0);
    // Only the worker process that died is a death: the others were ended by this program.
    let deaths: Vec<_> =
        seen.series("ends").into_iter().filter(|(name, _)| name.contains("deaths")).collect();
    let [(name, series)] = &deaths[..] else { panic!("{deaths:?}") };
    assert_eq!(name, "atasker_worker_deaths_total{cause=exit code 3,supervisor=ends}");
    assert_eq!(series.value, 1.0);
    // A task that never began has no times.
    let of = "supervisor=ends,tt=thread,name=never,priority=normal";
    assert!(!seen.has(&format!("atasker_task_run_seconds{{{of}}}")));
    assert!(!seen.has(&format!("atasker_task_queue_seconds{{{of}}}")));
}

#[test]
fn signal_is_the_cause_of_a_death() {
    let sup = supervisor("signal");
    let _export = sup.export_metrics();
    let (task, pid) = mp::occupy(&sup);
    atasker_tests::processes::signal(pid, libc::SIGSEGV);
    task.join().unwrap_err();
    let deaths = "atasker_worker_deaths_total{supervisor=signal,cause=SIGSEGV (11)}";
    recorder().wait(deaths, 1.0);
}

#[test]
fn rejected_launches_are_launched_and_rejected() {
    recorder();
    let config = PoolConfig::new(1).queue_limit(1, Overflow::Reject);
    let sup = Supervisor::builder().id("rejects").thread_pool(config).build();
    let _export = sup.export_metrics();
    let (holder, gate) = occupy(&sup, Priority::Normal);
    let task = || TaskBuilder::new(|| ()).name("many").supervisor(&sup).start();
    let queued = task();
    task().join().unwrap_err();
    gate.open();
    holder.join().unwrap();
    queued.join().unwrap();
    sup.stop(StopOptions::new());
    task().join().unwrap_err();
    let (seen, of) = (recorder(), "supervisor=rejects,tt=thread,name=many");
    seen.wait(&format!("atasker_tasks_completed_total{{{of},outcome=rejected}}"), 2.0);
    seen.wait(&format!("atasker_tasks_completed_total{{{of},outcome=ok}}"), 1.0);
    seen.wait(&format!("atasker_tasks_launched_total{{{of},priority=normal}}"), 3.0);
    seen.wait_values(&format!("atasker_task_run_seconds{{{of},priority=normal}}"), 1);
}

#[test]
fn expired_tasks_and_duplicates_have_their_outcomes() {
    let sup = supervisor("policies");
    let _export = sup.export_metrics();
    let (holder, gate) = occupy(&sup, Priority::Normal);
    let task = |name| TaskBuilder::new(|| ()).name(name).unique(()).supervisor(&sup);
    task("late").expires(Duration::from_millis(1)).start().join().unwrap_err();
    let first = task("twice").start();
    task("twice").start().join().unwrap_err();
    assert!(task("twice").start_unique().is_err());
    gate.open();
    holder.join().unwrap();
    first.join().unwrap();
    let (seen, of) = (recorder(), "supervisor=policies,tt=thread,name");
    seen.wait(&format!("atasker_tasks_completed_total{{{of}=late,outcome=expired}}"), 1.0);
    seen.wait(&format!("atasker_tasks_completed_total{{{of}=twice,outcome=rejected}}"), 1.0);
    seen.wait(&format!("atasker_tasks_completed_total{{{of}=twice,outcome=ok}}"), 1.0);
    // Nothing was launched by `start_unique`.
    seen.wait(&format!("atasker_tasks_launched_total{{{of}=twice,priority=normal}}"), 2.0);
}

#[test]
fn names_created_at_run_time_are_found_by_content() {
    let sup = supervisor("created");
    let _export = sup.export_metrics();
    for _ in 0..10 {
        let name = ["cre", "ated"].concat();
        TaskBuilder::new(|| ()).name(name).supervisor(&sup).start().join().unwrap();
    }
    TaskBuilder::new(|| ()).name("created").supervisor(&sup).start().join().unwrap();
    let launched =
        "atasker_tasks_launched_total{supervisor=created,tt=thread,name=created,priority=normal}";
    recorder().wait(launched, 11.0);
}

#[test]
fn nothing_is_lost_between_many_threads() {
    const EACH: usize = 5_000;
    recorder();
    let sup = Supervisor::builder().id("many").thread_pool(PoolConfig::new(4)).build();
    let export = sup.export_metrics();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let task = || TaskBuilder::new(|| ()).name("short").supervisor(&sup).start();
                let tasks: Vec<_> = (0..EACH).map(|_| task()).collect();
                tasks.into_iter().for_each(|task| task.join().unwrap());
            });
        }
    });
    // Writes what is due.
    drop(export);
    let (seen, of) = (recorder(), "supervisor=many,tt=thread,name=short");
    let all = 4 * EACH;
    let value = |series: &str| seen.get(series).value as usize;
    assert_eq!(value(&format!("atasker_tasks_launched_total{{{of},priority=normal}}")), all);
    assert_eq!(value(&format!("atasker_tasks_completed_total{{{of},outcome=ok}}")), all);
    let values = |series: &str| seen.get(series).values.len();
    assert_eq!(values(&format!("atasker_task_run_seconds{{{of},priority=normal}}")), all);
    assert_eq!(values(&format!("atasker_task_queue_seconds{{{of},priority=normal}}")), all);
}

#[test]
fn task_that_runs_already_is_counted_at_its_end() {
    let sup = supervisor("midway");
    let (task, gate) = occupy(&sup, Priority::Low);
    let _export = sup.export_metrics();
    let (seen, of) = (recorder(), "supervisor=midway,tt=thread,name=occupying");
    seen.wait("atasker_tasks_running{supervisor=midway,tt=thread}", 1.0);
    gate.open();
    task.join().unwrap();
    seen.wait(&format!("atasker_tasks_completed_total{{{of},outcome=ok}}"), 1.0);
    seen.wait_values(&format!("atasker_task_run_seconds{{{of},priority=low}}"), 1);
    assert!(!seen.has(&format!("atasker_tasks_launched_total{{{of},priority=low}}")));
}
