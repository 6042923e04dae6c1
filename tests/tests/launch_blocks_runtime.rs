//! Is a launch that waits for capacity in a full queue, on a thread of the program's own tokio
//! runtime, logged once, and no other launch?

use std::time::Duration;

use atasker::{MpPoolConfig, Overflow, PoolConfig, Priority, Supervisor, background_task};
use atasker_tests::events::{record, seen};
use atasker_tests::{FAR, Watchdog, eventually, occupy};
use tracing::Level;

fn warnings() -> usize {
    seen(|event| event.level == Level::WARN).len()
}

#[background_task(tt = "mp")]
fn in_process(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Launches one task more than the queue has capacity for, and lets the blocking task end.
fn launch_into_a_full_queue() {
    let config = PoolConfig::new(1).queue_limit(1, Overflow::Block);
    let sup = Supervisor::builder().thread_pool(config).build();
    let (first, gate) = occupy(&sup, Priority::Normal);
    let second = sup.spawn(|| ());
    let opener = std::thread::spawn({
        let sup = sup.clone();
        move || {
            // The third launch blocks: its task exists and is not among the queued ones.
            eventually(|| sup.info().tasks == 3);
            gate.open();
        }
    });
    let third = sup.spawn(|| ());
    opener.join().unwrap();
    for task in [first, second, third] {
        task.join().unwrap();
    }
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).build().unwrap()
}

#[test]
fn blocking_launch_on_runtime_is_logged_once() {
    let _watchdog = Watchdog::new("blocking_launch_on_runtime_is_logged_once", 2 * FAR);
    record();
    // Outside of runtimes, and where tokio permits blocking, nothing is logged.
    launch_into_a_full_queue();
    let rt = runtime(2);
    {
        let _inside = rt.enter();
        launch_into_a_full_queue();
    }
    rt.block_on(rt.spawn_blocking(launch_into_a_full_queue)).unwrap();
    let in_place = async { tokio::task::block_in_place(launch_into_a_full_queue) };
    rt.block_on(rt.spawn(in_place)).unwrap();
    rt.block_on(async { tokio::task::block_in_place(launch_into_a_full_queue) });
    assert_eq!(warnings(), 0);

    rt.block_on(rt.spawn(async { launch_into_a_full_queue() })).unwrap();
    assert_eq!(warnings(), 1);
    rt.block_on(async { launch_into_a_full_queue() });
    let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
    single.block_on(async { launch_into_a_full_queue() });
    let config = MpPoolConfig::new(1).queue_limit(1, Overflow::Block);
    let sup = Supervisor::builder().mp_pool(config).build();
    single.block_on(async {
        for _ in 0..4 {
            drop(in_process::builder(1).supervisor(&sup).start());
        }
    });
    assert_eq!(warnings(), 1);
}
