//! How are snapshots serialized?

use std::time::Duration;

use atasker::{Supervisor, TaskBuilder};
use serde_json::Value;

#[test]
fn times_are_rfc_3339_and_durations_are_seconds() {
    let sup = Supervisor::builder().id("s").build();
    let delay = Duration::from_millis(600_500);
    let task = TaskBuilder::new(|| ()).delay(delay).supervisor(&sup).start();
    let info: Value = serde_json::to_value(task.info()).unwrap();
    assert_eq!(info["delay"], 600.5);
    let time = info["time_queued"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert_eq!(info["time_started"], Value::Null);
    task.cancel();
    let info = serde_json::to_value(sup.info()).unwrap();
    assert_eq!(info["thread_pool"]["canceled"], 1);
}
