//! What is an observer told about tasks in worker processes, and about these processes?

use std::sync::Arc;
use std::time::Duration;

use atasker::{MpPoolConfig, StopOptions, Supervisor, TaskContext, TaskError, background_task};

use crate::recorder::Recorder;

fn processes(size: usize) -> Supervisor {
    Supervisor::builder().id("p").mp_pool(MpPoolConfig::new(size)).build()
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

#[background_task(tt = "mp")]
fn until_stopped(ctx: &TaskContext) {
    ctx.wait_stop(Duration::from_secs(600));
}

#[background_task(tt = "mp", retries = 1)]
fn exits(code: i32) {
    std::process::exit(code);
}

#[background_task(tt = "mp")]
fn sleeps(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn mp_task_is_launched_started_and_ended() {
    let sup = processes(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    for _ in 0..20 {
        let task = pid::builder().supervisor(&sup).start();
        let id = task.id();
        let pid = task.join().unwrap();
        assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
        let calls = recorder.of(id);
        assert_eq!((calls[1].worker, calls[2].worker), (Some(pid), Some(pid)));
        assert!(calls[1].queued_for.is_some() && calls[2].ran_for.is_some());
        assert!(recorder.others().contains(&format!("process started {pid}")));
    }
}

#[test]
fn begin_of_a_long_call_is_told_at_once() {
    let sup = processes(1);
    // The worker process is there before the observer.
    pid::builder().supervisor(&sup).start().join().unwrap();
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    for _ in 0..3 {
        let task = until_stopped::builder().supervisor(&sup).start();
        recorder.wait_for(task.id(), "started");
        assert_eq!(recorder.stages(task.id()), ["launched", "started"]);
        task.stop();
        let id = task.id();
        task.join().unwrap();
        assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
    }
}

#[test]
fn begin_of_each_of_several_calls_is_told() {
    let sup = processes(2);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let tasks: Vec<_> = (0..400).map(|_| pid::builder().supervisor(&sup).start()).collect();
    let ids: Vec<_> = tasks.iter().map(atasker::Task::id).collect();
    atasker::wait_completed!(tasks).unwrap();
    for id in ids {
        assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
    }
}

#[test]
fn death_of_a_worker_process_is_told() {
    let sup = processes(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let task = exits::builder(3).supervisor(&sup).start();
    let id = task.id();
    let Err(TaskError::WorkerDied(death)) = task.join() else { panic!("it has died") };
    assert_eq!(recorder.stages(id), ["launched", "started", "retrying", "started", "ended"]);
    let told = recorder.wait_for_other(&format!("process ended {}", death.pid()));
    assert!(told.ends_with("exit code 3"), "{told}");
}

#[test]
fn kills_limits_and_stops_of_ours_are_no_deaths() {
    let sup = processes(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let killed = until_stopped::builder().supervisor(&sup).start();
    recorder.wait_for(killed.id(), "started");
    killed.kill().unwrap();
    assert!(killed.join().unwrap_err().is_canceled());
    let limit = Duration::from_millis(50);
    let limited = sleeps::builder(Duration::from_secs(600)).timeout(limit).supervisor(&sup).start();
    assert!(limited.join().unwrap_err().is_timeout());
    pid::builder().supervisor(&sup).start().join().unwrap();
    sup.stop(StopOptions::new());
    let others = recorder.others();
    let ended: Vec<_> = others.iter().filter(|text| text.starts_with("process ended")).collect();
    assert_eq!(ended.len(), 3, "{others:?}");
    assert!(ended.iter().all(|text| text.ends_with("after 1: in order")), "{others:?}");
}

#[test]
fn calls_in_advance_are_told_in_order_without_an_observer_at_first() {
    let sup = processes(1);
    let first = until_stopped::builder().supervisor(&sup).start();
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    first.stop();
    let id = first.id();
    let _ = first.join();
    assert_eq!(recorder.stages(id).last(), Some(&"ended"));
    assert!(recorder.stages(id).len() <= 2);
}

#[background_task(tt = "mp")]
fn ignores_stops() {
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn worker_process_that_a_stop_kills_is_no_death() {
    let sup = processes(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let task = ignores_stops::builder().supervisor(&sup).start();
    recorder.wait_for(task.id(), "started");
    let report = sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert_eq!(report.abandoned, 1);
    let told = recorder.wait_for_other("process ended");
    assert!(told.ends_with("in order"), "{told}");
}
