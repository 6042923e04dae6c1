//! Does a dashboard that has nothing to show cost anything? A separate program, because it counts
//! the wake-ups of threads.

use std::time::Duration;

use atasker::{Dashboard, Supervisor};
use atasker_tests::{Gate, eventually};
use atasker_tests_seen::http::get;
use serde_json::Value;

/// How often a thread of this name was woken.
fn wake_ups(name: &str) -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let mut all = threads.filter_map(|thread| {
        let path = thread.unwrap().path();
        let comm = std::fs::read_to_string(path.join("comm")).ok()?;
        // The system cuts names.
        (!comm.trim().is_empty() && name.starts_with(comm.trim())).then(|| {
            let status = std::fs::read_to_string(path.join("status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("voluntary")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        })
    });
    let one = all.next().expect(name);
    assert_eq!(all.next(), None, "{name}");
    one
}

#[test]
fn quiet_seconds_wake_no_thread() {
    let sup = Supervisor::builder().build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    sup.spawn(|| ()).join().unwrap();
    // A task that runs on is not something that happens.
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let task = sup.spawn(move || {
        begins.open();
        waits.wait();
    });
    begun.wait();
    let count = || (wake_ups("atasker timer"), wake_ups("atasker dashboard"));
    // The second in which it has happened is recorded, and then nothing.
    let mut before = count();
    eventually(|| {
        std::thread::sleep(Duration::from_millis(2_500));
        let now = count();
        std::mem::replace(&mut before, now) == now
    });
    // The quiet seconds are points nevertheless.
    let history = get(dashboard.addr(), "/api/history").send().json();
    let thread = &history["supervisors"][0]["places"]["thread"];
    let running: Vec<u64> =
        thread["running"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert!(running.len() >= 3 && running[1..].iter().all(|n| *n == 1), "{running:?}");
    gate.open();
    task.join().unwrap();
    dashboard.stop();
}
