//! Does an idle supervisor write anything?
//!
//! One test: it counts all calls of the recorder, and the wake-ups of all threads.

use std::time::Duration;

use atasker::{MpPoolConfig, PoolConfig, Priority, Supervisor};
use atasker_tests::{mp, occupy};
use atasker_tests_seen::metrics::recorder;

/// How often a thread of this process has slept and been woken, by its name.
fn switches() -> Vec<(String, String)> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let mut all: Vec<_> = threads
        .filter_map(|thread| {
            let path = thread.ok()?.path();
            let status = std::fs::read_to_string(path.join("status")).ok()?;
            let field = |name| Some(status.lines().find(|line| line.starts_with(name))?.to_owned());
            Some((field("Name:")?, field("voluntary_ctxt_switches:")?))
        })
        .filter(|(name, _)| name.contains("atasker"))
        .collect();
    all.sort();
    all
}

#[test]
fn idle_supervisor_writes_nothing_and_wakes_no_thread() {
    let seen = recorder();
    let sup = Supervisor::builder().id("idle").thread_pool(PoolConfig::new(2));
    let sup = sup.mp_pool(MpPoolConfig::new(1)).build();
    sup.export_metrics().keep();
    // Idle with a task in each pool, and one that waits.
    let (task, gate) = occupy(&sup, Priority::Normal);
    let (running, _) = mp::occupy(&sup);
    let waiting = mp::pid::builder().supervisor(&sup).start();
    seen.wait("atasker_tasks_running{supervisor=idle,tt=thread}", 1.0);
    seen.wait("atasker_tasks_running{supervisor=idle,tt=mp}", 1.0);
    seen.wait("atasker_tasks_waiting{supervisor=idle,tt=mp,priority=normal}", 1.0);
    // The write after the last change, and the check after that.
    std::thread::sleep(Duration::from_millis(1_500));
    let (calls, before) = (seen.calls(), switches());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(seen.calls(), calls);
    assert_eq!(switches(), before);

    gate.open();
    task.join().unwrap();
    running.stop();
    running.join().unwrap();
    waiting.join().unwrap();
    seen.wait("atasker_tasks_running{supervisor=idle,tt=thread}", 0.0);
}
