//! How do the snapshots of pools and aloops count the ends of tasks?

use std::time::Duration;

use atasker::{MpPoolConfig, PoolConfig, Priority, Supervisor, TaskBuilder, background_task};
use atasker_tests::{Gate, occupy};

#[background_task(tt = "mp")]
fn ends_as(how: u8) -> Result<u8, String> {
    match how {
        0 => Ok(how),
        1 => Err("no luck".into()),
        2 => panic!("no luck"),
        _ => {
            std::thread::sleep(Duration::from_secs(600));
            Ok(how)
        }
    }
}

#[test]
fn each_ended_task_is_counted_once_by_its_place() {
    let sup =
        Supervisor::builder().thread_pool(PoolConfig::new(1)).mp_pool(MpPoolConfig::new(1)).build();
    let limit = Duration::from_millis(10);

    sup.spawn(|| ()).join().unwrap();
    sup.spawn(|| panic!("no luck")).join().unwrap_err();
    let gate = Gate::new();
    let waits = gate.clone();
    let slow = TaskBuilder::new(move || waits.wait()).timeout(limit).supervisor(&sup).start();
    slow.join().unwrap_err();
    gate.open();
    let (occupying, gate) = occupy(&sup, Priority::Normal);
    assert!(sup.spawn(|| ()).cancel());
    gate.open();
    occupying.join().unwrap();
    let pool = sup.info().thread_pool;
    let counts = (pool.completed, pool.failed, pool.timed_out, pool.canceled);
    assert_eq!(counts, (2, 1, 1, 1));

    for how in [0, 1, 2] {
        let _ = ends_as::builder(how).supervisor(&sup).start().join();
    }
    ends_as::builder(3).timeout(limit).supervisor(&sup).start().join().unwrap_err();
    let killed = ends_as::builder(3).supervisor(&sup).start();
    killed.kill().unwrap();
    killed.join().unwrap_err();
    let pool = sup.info().mp_pool.unwrap();
    let counts = (pool.completed, pool.failed, pool.timed_out, pool.canceled);
    assert_eq!(counts, (2, 1, 1, 1));

    sup.spawn_async(async {}).join().unwrap();
    sup.spawn_async(async { panic!("no luck") }).join().unwrap_err();
    let slow = TaskBuilder::future(std::future::pending::<()>()).timeout(limit).supervisor(&sup);
    slow.start().join().unwrap_err();
    let info = sup.info();
    let aloop = &info.aloops[0];
    let counts = (aloop.completed, aloop.failed, aloop.timed_out, aloop.canceled);
    assert_eq!(counts, (1, 1, 1, 0));
    assert_eq!(info.thread_pool.completed, 2, "the places count apart");
}
