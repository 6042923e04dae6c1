//! What do the gauges of a supervisor show, and when?

use std::time::Duration;

use atasker::{
    MpPoolConfig, PoolConfig, Priority, StopOptions, Supervisor, Task, TaskBuilder, background_task,
};
use atasker_tests::{FAR, Gate, mp, occupy};
use atasker_tests_seen::metrics::recorder;

fn supervisor(id: &str, threads: PoolConfig) -> Supervisor {
    recorder();
    Supervisor::builder().id(id).thread_pool(threads).mp_pool(MpPoolConfig::new(1)).build()
}

fn waits(sup: &Supervisor, priority: Priority) -> Task<()> {
    TaskBuilder::new(|| ()).name("waits").priority(priority).supervisor(sup).start()
}

#[background_task(name = "awaited")]
async fn awaited(gate: std::sync::Arc<tokio::sync::Notify>) {
    gate.notified().await;
}

#[test]
fn threads_show_their_load() {
    let config = PoolConfig::new(1).reserve_normal(2).reserve_high(4);
    let sup = supervisor("threads", config);
    let _export = sup.export_metrics();
    let (seen, of) = (recorder(), "supervisor=threads,tt=thread");
    // Before anything has happened.
    seen.wait(&format!("atasker_slots{{{of}}}"), 7.0);
    seen.wait(&format!("atasker_tasks_running{{{of}}}"), 0.0);
    seen.wait("atasker_pool_threads{supervisor=threads}", 0.0);

    let (low, gate) = occupy(&sup, Priority::Low);
    let (critical, critical_gate) = occupy(&sup, Priority::Critical);
    let waiting: Vec<_> = (0..3).map(|_| waits(&sup, Priority::Low)).collect();
    seen.wait(&format!("atasker_tasks_running{{{of}}}"), 2.0);
    seen.wait(&format!("atasker_tasks_waiting{{{of},priority=low}}"), 3.0);
    seen.wait(&format!("atasker_tasks_waiting{{{of},priority=normal}}"), 0.0);
    seen.wait(&format!("atasker_tasks_waiting{{{of},priority=high}}"), 0.0);
    seen.wait(&format!("atasker_tasks_waiting{{{of},priority=critical}}"), 0.0);
    seen.wait("atasker_pool_threads{supervisor=threads}", 2.0);

    gate.open();
    critical_gate.open();
    [low, critical].into_iter().chain(waiting).for_each(|task| task.join().unwrap());
    seen.wait(&format!("atasker_tasks_running{{{of}}}"), 0.0);
    seen.wait(&format!("atasker_tasks_waiting{{{of},priority=low}}"), 0.0);
}

#[test]
fn worker_processes_show_their_load() {
    let sup = supervisor("processes", PoolConfig::new(1));
    let _export = sup.export_metrics();
    let (seen, of) = (recorder(), "supervisor=processes,tt=mp");
    let (running, _) = mp::occupy(&sup);
    let waiting = mp::pid::builder().priority(Priority::High).supervisor(&sup).start();
    seen.wait(&format!("atasker_slots{{{of}}}"), 1.0);
    seen.wait(&format!("atasker_tasks_running{{{of}}}"), 1.0);
    seen.wait(&format!("atasker_tasks_waiting{{{of},priority=high}}"), 1.0);
    seen.wait("atasker_worker_processes{supervisor=processes}", 1.0);
    running.stop();
    running.join().unwrap();
    waiting.join().unwrap();
    seen.wait(&format!("atasker_tasks_running{{{of}}}"), 0.0);
    seen.wait(&format!("atasker_tasks_waiting{{{of},priority=high}}"), 0.0);
}

#[test]
fn idle_threads_and_processes_that_end_are_no_longer_shown() {
    recorder();
    let idle = Duration::from_millis(1_500);
    let threads = PoolConfig::new(1).idle_timeout(idle);
    let processes = MpPoolConfig::new(1).idle_timeout(idle);
    let sup = Supervisor::builder().id("ends").thread_pool(threads).mp_pool(processes).build();
    let _export = sup.export_metrics();
    let seen = recorder();
    waits(&sup, Priority::Normal).join().unwrap();
    mp::run_pid(&sup);
    seen.wait("atasker_pool_threads{supervisor=ends}", 1.0);
    seen.wait("atasker_worker_processes{supervisor=ends}", 1.0);
    // No task tells of this.
    seen.wait("atasker_pool_threads{supervisor=ends}", 0.0);
    seen.wait("atasker_worker_processes{supervisor=ends}", 0.0);
}

#[test]
fn aloops_show_running_tasks_and_no_slots() {
    let sup = supervisor("aloops", PoolConfig::new(1));
    let _export = sup.export_metrics();
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let task = awaited::builder(gate.clone()).supervisor(&sup).start();
    let running = "atasker_tasks_running{supervisor=aloops,tt=async}";
    recorder().wait(running, 1.0);
    gate.notify_one();
    task.join().unwrap();
    recorder().wait(running, 0.0);
    assert!(!recorder().has("atasker_slots{supervisor=aloops,tt=async}"));
}

#[test]
fn unlimited_pool_has_no_slots() {
    let sup = supervisor("unlimited", PoolConfig::new(0));
    let _export = sup.export_metrics();
    let (task, gate) = occupy(&sup, Priority::Normal);
    let of = "supervisor=unlimited,tt=thread";
    recorder().wait(&format!("atasker_tasks_running{{{of}}}"), 1.0);
    assert!(!recorder().has(&format!("atasker_slots{{{of}}}")));
    recorder().wait("atasker_slots{supervisor=unlimited,tt=mp}", 1.0);
    gate.open();
    task.join().unwrap();
}

#[test]
fn resized_pools_are_shown() {
    let sup = supervisor("resized", PoolConfig::new(2));
    let _export = sup.export_metrics();
    let (threads, processes) =
        ("atasker_slots{supervisor=resized,tt=thread}", "atasker_slots{supervisor=resized,tt=mp}");
    recorder().wait(threads, 2.0);
    recorder().wait(processes, 1.0);
    sup.set_thread_pool(PoolConfig::new(3).reserve_high(2));
    sup.set_mp_pool(MpPoolConfig::new(4));
    recorder().wait(threads, 5.0);
    recorder().wait(processes, 4.0);
    sup.set_thread_pool(PoolConfig::new(0));
    recorder().wait(threads, 0.0);
}

#[test]
fn blocked_task_runs_and_callback_does_not() {
    let sup = supervisor("blocked", PoolConfig::new(2));
    let _export = sup.export_metrics();
    let running = "atasker_tasks_running{supervisor=blocked,tt=thread}";
    let (inner, gate) = occupy(&sup, Priority::Normal);
    let outer = TaskBuilder::new(move || inner.join().unwrap()).supervisor(&sup).start();
    recorder().wait(running, 2.0);
    gate.open();
    outer.join().unwrap();
    recorder().wait(running, 0.0);

    // An alarm, which takes a pool thread.
    let (rings, stops) = (Gate::new(), Gate::new());
    let (ringing, stopped) = (rings.clone(), stops.clone());
    sup.on_queued_for(Duration::from_millis(1), move |_| {
        ringing.open();
        stopped.wait();
    });
    let occupied: Vec<_> = (0..2).map(|_| occupy(&sup, Priority::Normal)).collect();
    let waiting = waits(&sup, Priority::Normal);
    rings.wait();
    recorder().wait(running, 2.0);
    for (task, gate) in occupied {
        gate.open();
        task.join().unwrap();
    }
    waiting.join().unwrap();
    // The alarm still runs.
    recorder().wait(running, 0.0);
    stops.open();
}

#[test]
fn task_beyond_its_time_limit_occupies_its_slot() {
    let sup = supervisor("late", PoolConfig::new(1));
    let _export = sup.export_metrics();
    let gate = Gate::new();
    let inside = gate.clone();
    let task = TaskBuilder::new(move || inside.wait()).timeout(Duration::from_millis(50));
    task.supervisor(&sup).start().join().unwrap_err();
    let running = "atasker_tasks_running{supervisor=late,tt=thread}";
    recorder().wait(running, 1.0);
    gate.open();
    // No task tells of this.
    recorder().wait(running, 0.0);
}

#[test]
fn gauges_of_a_stopped_supervisor_are_0_until_it_starts() {
    let sup = supervisor("stops", PoolConfig::new(3));
    let _export = sup.export_metrics();
    let slots = "atasker_slots{supervisor=stops,tt=thread}";
    recorder().wait(slots, 3.0);
    waits(&sup, Priority::Normal).join().unwrap();
    sup.stop(StopOptions::new());
    // Written before `stop` returns, with the counters.
    let now = recorder().series("stops");
    assert!(now.iter().filter(|(name, _)| !name.contains("task")).all(|(_, s)| s.value == 0.0));
    let launched =
        "atasker_tasks_launched_total{name=waits,priority=normal,supervisor=stops,tt=thread}";
    assert_eq!(now[launched].value, 1.0);
    sup.start();
    recorder().wait(slots, 3.0);
}

#[test]
fn gauges_are_written_at_most_twice_a_second() {
    let sup = supervisor("often", PoolConfig::new(2));
    let _export = sup.export_metrics();
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let tasks: Vec<_> = (0..20).map(|_| waits(&sup, Priority::Normal)).collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }
    for (name, series) in recorder().series("often") {
        if name.contains("_total") || name.contains("_seconds") {
            continue;
        }
        assert!(series.writes.len() >= 3, "{name}: {}", series.writes.len());
        for pair in series.writes.windows(3) {
            // Three writes within a second, less the jitter of the clock's readers.
            let apart = pair[2] - pair[0];
            assert!(apart >= Duration::from_millis(950), "{name}: {apart:?}");
        }
    }
    assert!(began.elapsed() < FAR);
}
