//! What is recorded if the recorder is installed after the export?
//!
//! One test: the recorder of a program is installed once.

use std::time::Duration;

use atasker::{PoolConfig, Supervisor, Task, TaskBuilder};
use atasker_tests_seen::metrics::recorder;

fn short(sup: &Supervisor) -> Task<()> {
    TaskBuilder::new(|| ()).name("short").supervisor(sup).start()
}

#[test]
fn recorder_installed_later_works_from_then_on() {
    let sup = Supervisor::builder().id("late").thread_pool(PoolConfig::new(1)).build();
    let _export = sup.export_metrics();
    for _ in 0..200 {
        short(&sup).join().unwrap();
    }
    // Some of this is written to no recorder, and has handles there.
    std::thread::sleep(Duration::from_millis(600));
    for _ in 0..200 {
        short(&sup).join().unwrap();
    }
    let recorder = recorder();
    for _ in 0..3 {
        short(&sup).join().unwrap();
    }
    let of = "supervisor=late,tt=thread,name=short";
    recorder.wait(&format!("atasker_tasks_launched_total{{{of},priority=normal}}"), 3.0);
    recorder.wait(&format!("atasker_tasks_completed_total{{{of},outcome=ok}}"), 3.0);
    recorder.wait_values(&format!("atasker_task_run_seconds{{{of},priority=normal}}"), 3);
    recorder.wait_values(&format!("atasker_task_queue_seconds{{{of},priority=normal}}"), 3);
    recorder.wait("atasker_pool_threads{supervisor=late}", 1.0);
    assert!(recorder.described().contains_key("atasker_slots"));
    for _ in 0..200 {
        short(&sup).join().unwrap();
    }
    recorder.wait(&format!("atasker_tasks_launched_total{{{of},priority=normal}}"), 203.0);
    recorder.wait_values(&format!("atasker_task_run_seconds{{{of},priority=normal}}"), 203);
}
