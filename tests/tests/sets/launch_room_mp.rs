//! Does `start_async` wait for room in the queue of the worker processes, by number and by bytes?

use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, StartAsync, StopOptions, Supervisor, Task, TaskError, TaskStatus,
    background_task,
};
use atasker_tests::{FAR, Watchdog, eventually, mp};
use futures_lite::future::{block_on, poll_once};

use crate::doubles;

#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

fn launch(sup: &Supervisor, n: u32) -> StartAsync<u32> {
    doubles::builder(n).supervisor(sup).start_async()
}

fn poll<R: Send + 'static>(start: &mut StartAsync<R>) -> Option<Task<R>> {
    block_on(poll_once(start))
}

/// A pool with one worker process, which is busy.
fn busy(config: MpPoolConfig) -> (Supervisor, Task<u32, (), u32>) {
    let sup = mp::supervisor(config);
    let (busy, _) = mp::occupy(&sup);
    (sup, busy)
}

fn waiting(sup: &Supervisor) -> usize {
    sup.info().mp_pool.unwrap().waiting.total()
}

#[test]
fn full_queue_is_waited_for() {
    let _watchdog = Watchdog::new("full_queue_is_waited_for", 3 * FAR);
    let (sup, busy) = busy(MpPoolConfig::new(1).queue_limit(2, Overflow::Block));
    let mut launched = Vec::new();
    let mut pending = None;
    for n in 0.. {
        // Some are sent ahead, and don't wait in the queue.
        let mut start = launch(&sup, n);
        match poll(&mut start) {
            Some(task) => launched.push(task),
            None => {
                pending = Some((n, start));
                break;
            }
        }
    }
    let (last, start) = pending.unwrap();
    let tasks = sup.info().tasks;
    assert_eq!(tasks, launched.len() + 1, "it does not exist yet");
    // Another one is given up, which changes nothing.
    let mut given_up = launch(&sup, 0);
    assert!(poll(&mut given_up).is_none());
    drop(given_up);
    busy.stop();
    assert_eq!(block_on(start).join().unwrap(), 2 * last);
    for (n, task) in launched.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), 2 * n as u32);
    }
    busy.join().unwrap();
}

#[test]
fn bytes_are_waited_for() {
    let _watchdog = Watchdog::new("bytes_are_waited_for", 3 * FAR);
    // A large call is sent only to an idle worker process, so it waits in the queue.
    let large = vec![1; 1 << 20];
    let (sup, busy) = busy(MpPoolConfig::new(1).queue_bytes(3 << 19, Overflow::Block));
    let start = || length::builder(&large).supervisor(&sup).start_async();
    let first = poll(&mut start()).expect("one is admitted");
    assert_eq!(first.status(), TaskStatus::Queued);
    let mut second = start();
    assert!(poll(&mut second).is_none());
    // There is room for a small one.
    let small = length::builder(&[1, 2]).supervisor(&sup);
    let small = poll(&mut small.start_async()).expect("it fits");
    busy.stop();
    assert_eq!(first.join().unwrap(), 1 << 20);
    assert_eq!(block_on(second).join().unwrap(), 1 << 20);
    assert_eq!(small.join().unwrap(), 2);
    busy.join().unwrap();
}

#[test]
fn room_is_passed_on_by_futures_that_are_dropped() {
    let _watchdog = Watchdog::new("room_is_passed_on_by_futures_that_are_dropped", 3 * FAR);
    let (sup, busy) = busy(MpPoolConfig::new(1).queue_limit(0, Overflow::Block));
    let mut starts: Vec<_> = (0..20).map(|n| launch(&sup, n)).collect();
    starts.iter_mut().for_each(|start| {
        if let Some(task) = poll(start) {
            // Sent ahead.
            task.detach();
        }
    });
    let mut last = launch(&sup, 50);
    assert!(poll(&mut last).is_none());
    let waits = std::thread::spawn(move || block_on(last).join().unwrap());
    busy.stop();
    drop(starts);
    assert_eq!(waits.join().unwrap(), 100);
    busy.join().unwrap();
}

#[test]
fn rejecting_and_stopped_pools_end_the_task() {
    let _watchdog = Watchdog::new("rejecting_and_stopped_pools_end_the_task", 3 * FAR);
    let (sup, busy) = busy(MpPoolConfig::new(1).queue_limit(0, Overflow::Reject));
    let mut rejected = None;
    for _ in 0..1_000 {
        let task = poll(&mut launch(&sup, 1)).expect("it never waits");
        if task.is_completed() {
            rejected = Some(task);
            break;
        }
        task.detach();
    }
    assert_eq!(rejected.unwrap().join().unwrap_err(), TaskError::QueueFull);
    sup.set_mp_pool(MpPoolConfig::new(1).queue_limit(0, Overflow::Block));
    let mut waits = launch(&sup, 1);
    assert!(poll(&mut waits).is_none());
    let ours = sup.clone();
    let stop = std::thread::spawn(move || ours.stop(StopOptions::new()));
    eventually(|| !sup.is_active());
    // While the other task still runs.
    assert_eq!(block_on(waits).join().unwrap_err(), TaskError::SupervisorStopped);
    assert!(!busy.is_completed());
    busy.stop();
    stop.join().unwrap();
    let refused = poll(&mut launch(&sup, 1)).unwrap();
    assert_eq!(refused.join().unwrap_err(), TaskError::SupervisorStopped);
}

#[test]
fn blocked_thread_and_future_share_the_room() {
    let _watchdog = Watchdog::new("blocked_thread_and_future_share_the_room", 3 * FAR);
    let (sup, busy) = busy(MpPoolConfig::new(1).queue_limit(1, Overflow::Block));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let sup = sup.clone();
            std::thread::spawn(move || {
                for n in 0..50 {
                    assert_eq!(doubles::builder(n).supervisor(&sup).start().join().unwrap(), 2 * n);
                }
            })
        })
        .collect();
    let futures: Vec<_> = (0..4)
        .map(|_| {
            let sup = sup.clone();
            std::thread::spawn(move || {
                block_on(async {
                    for n in 0..50 {
                        assert_eq!(launch(&sup, n).await.await.unwrap(), 2 * n);
                        drop(poll_once(launch(&sup, n)).await);
                    }
                });
            })
        })
        .collect();
    busy.stop();
    for thread in threads.into_iter().chain(futures) {
        thread.join().unwrap();
    }
    eventually(|| sup.tasks().is_empty() && waiting(&sup) == 0);
    busy.join().unwrap();
}

#[test]
fn canceled_launch_leaves_the_room() {
    let _watchdog = Watchdog::new("canceled_launch_leaves_the_room", 3 * FAR);
    let (sup, busy) = busy(MpPoolConfig::new(1).queue_limit(0, Overflow::Block));
    // Fills what is sent ahead.
    while let Some(task) = poll(&mut launch(&sup, 1)) {
        task.detach();
    }
    let before = sup.info().tasks;
    let ours = sup.clone();
    let blocked = std::thread::spawn(move || doubles::builder(1).supervisor(&ours).start());
    eventually(|| sup.info().tasks == before + 1);
    let newest = sup.tasks().into_iter().max_by_key(|task| task.time_queued).unwrap();
    assert!(sup.task(newest.id).unwrap().cancel());
    assert!(blocked.join().unwrap().join().unwrap_err().is_canceled());
    busy.stop();
    busy.join().unwrap();
}

#[test]
fn failed_encoding_ends_the_task() {
    #[derive(serde::Deserialize)]
    struct Unencodable;
    impl serde::Serialize for Unencodable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    #[background_task(tt = "mp")]
    fn takes(value: Unencodable) {
        let _ = value;
    }
    let (sup, busy) = busy(MpPoolConfig::new(1).queue_limit(0, Overflow::Block));
    let task = poll(&mut takes::builder(Unencodable).supervisor(&sup).start_async()).unwrap();
    assert!(task.join().unwrap_err().to_string().contains("not today"));
    busy.stop();
    busy.join().unwrap();
}

#[test]
fn launch_with_a_delay_needs_no_room() {
    let (sup, busy) = busy(MpPoolConfig::new(1).queue_limit(0, Overflow::Block));
    let delayed = doubles::builder(1).delay(Duration::from_secs(600)).supervisor(&sup);
    let delayed = poll(&mut delayed.start_async()).unwrap();
    assert!(delayed.status() == TaskStatus::Delayed && delayed.cancel());
    busy.stop();
    busy.join().unwrap();
}
