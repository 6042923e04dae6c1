//! Does `start_async` wait for room in the queue of the thread pool, and launch nothing before?

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use atasker::{
    Observer, Overflow, PoolConfig, Priority, StartAsync, StopOptions, Supervisor, Task,
    TaskBuilder, TaskError, TaskEvent, TaskStatus,
};
use atasker_tests::{FAR, Gate, Watchdog, eventually, occupy, pool_with};
use futures_lite::future::{block_on, poll_once};

use Priority::{High, Low, Normal};

/// A pool with a slot that is taken, and a queue that is full.
fn full(limit: usize, overflow: Overflow) -> (Supervisor, Gate) {
    let sup = pool_with(PoolConfig::new(1).queue_limit(limit, overflow));
    let (busy, gate) = occupy(&sup, Normal);
    busy.detach();
    for _ in 0..limit {
        sup.spawn(|| ()).detach();
    }
    (sup, gate)
}

fn launch(sup: &Supervisor) -> StartAsync<u32> {
    TaskBuilder::new(|| 1).supervisor(sup).start_async()
}

/// Polls once.
fn poll<R: Send + 'static>(start: &mut StartAsync<R>) -> Option<Task<R>> {
    block_on(poll_once(start))
}

/// A waker that tells whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Woken {
    fn poll<R: Send + 'static>(self: &Arc<Self>, start: &mut StartAsync<R>) -> Poll<Task<R>> {
        let waker = Waker::from(Arc::clone(self));
        self.0.store(false, Ordering::SeqCst);
        pin!(start).poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn queue_with_room_launches_at_first_poll() {
    for config in [PoolConfig::new(1), PoolConfig::new(1).queue_limit(1, Overflow::Block)] {
        let sup = pool_with(config);
        let mut start = launch(&sup);
        assert_eq!(sup.info().tasks, 0);
        assert_eq!(poll(&mut start).unwrap().join().unwrap(), 1);
        let (busy, gate) = occupy(&sup, Normal);
        let waits = poll(&mut launch(&sup)).unwrap();
        assert_eq!(waits.status(), TaskStatus::Queued);
        gate.open();
        assert_eq!(waits.join().unwrap(), 1);
        busy.join().unwrap();
    }
}

#[test]
fn full_queue_is_waited_for() {
    let (sup, gate) = full(2, Overflow::Block);
    let mut start = launch(&sup);
    let woken = Arc::new(Woken::default());
    assert!(woken.poll(&mut start).is_pending());
    assert!(woken.poll(&mut start).is_pending() && !woken.is_woken());
    assert_eq!(sup.info().tasks, 3, "it does not exist yet");
    gate.open();
    eventually(|| woken.is_woken());
    let Poll::Ready(task) = woken.poll(&mut start) else { panic!("there is room") };
    assert_eq!(task.join().unwrap(), 1);
}

#[derive(Default)]
struct Launches(AtomicUsize);

impl Observer for Launches {
    fn launched(&self, _: &TaskEvent<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn dropped_future_launches_nothing() {
    let (sup, gate) = full(1, Overflow::Block);
    let launches = Arc::new(Launches::default());
    let _guard = sup.observe(Arc::clone(&launches));
    let drops = crate::Drops::default();
    let guard = drops.guard();
    let builder = TaskBuilder::new(move || drop(guard)).supervisor(&sup);
    let mut start = builder.start_async();
    assert!(poll(&mut start).is_none() && poll(&mut start).is_none());
    drop(start);
    drop(launch(&sup));
    assert_eq!((drops.count(), launches.0.load(Ordering::SeqCst)), (1, 0));
    gate.open();
    sup.stop(StopOptions::new());
    assert_eq!((sup.info().thread_pool.completed, launches.0.load(Ordering::SeqCst)), (2, 0));
}

#[test]
fn woken_future_that_is_dropped_passes_its_room_on() {
    let (sup, gate) = full(1, Overflow::Block);
    let wakers = [(); 3].map(|()| Arc::new(Woken::default()));
    let mut starts = [(); 3].map(|()| Some(launch(&sup)));
    for (woken, start) in wakers.iter().zip(&mut starts) {
        assert!(woken.poll(start.as_mut().unwrap()).is_pending());
    }
    // A task that holds the slot again leaves room for one.
    let found: Vec<_> = sup.tasks().into_iter().map(|task| sup.task(task.id).unwrap()).collect();
    assert!(found[1].cancel());
    assert!(wakers[0].is_woken(), "first come, first served");
    assert!(!wakers[1].is_woken() && !wakers[2].is_woken());
    starts[0] = None;
    assert!(wakers[1].is_woken() && !wakers[2].is_woken());
    let second = wakers[1].poll(starts[1].as_mut().unwrap());
    assert!(second.is_ready());
    starts[1] = None;
    assert!(!wakers[2].is_woken());
    // One that is not woken leaves nothing to pass on.
    starts[2] = None;
    gate.open();
    eventually(|| sup.tasks().is_empty());
}

#[test]
fn launches_get_room_by_priority_then_arrival() {
    let (sup, gate) = full(1, Overflow::Block);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for (n, priority) in [Low, Normal, High, Low, High, Normal].into_iter().enumerate() {
        let order = Arc::clone(&order);
        let builder = TaskBuilder::new(move || order.lock().unwrap().push(n));
        let mut start = builder.priority(priority).supervisor(&sup).start_async();
        let woken = Arc::new(Woken::default());
        assert!(woken.poll(&mut start).is_pending());
        waiting.push((woken, Some(start)));
    }
    let mut launched = Vec::new();
    let found: Vec<_> = sup.tasks().into_iter().map(|task| sup.task(task.id).unwrap()).collect();
    let mut last = found[1].clone();
    for _ in 0..waiting.len() {
        // The one task that waits in the queue makes room.
        assert!(last.cancel());
        let next: Vec<_> = (0..waiting.len()).filter(|n| waiting[*n].0.is_woken()).collect();
        let [next] = next[..] else { panic!("{next:?} were woken") };
        let (woken, start) = &mut waiting[next];
        let Poll::Ready(task) = woken.poll(start.as_mut().unwrap()) else { panic!("no room") };
        last = task.to_ref();
        waiting[next].1 = None;
        launched.push(next);
    }
    assert_eq!(launched, [2, 4, 1, 5, 0, 3]);
    gate.open();
}

#[test]
fn rejecting_queue_ends_the_task() {
    let (sup, gate) = full(1, Overflow::Reject);
    let refused = poll(&mut launch(&sup)).unwrap();
    assert_eq!(refused.join().unwrap_err(), TaskError::QueueFull);
    gate.open();
}

#[test]
fn delayed_and_async_tasks_need_no_room() {
    let (sup, gate) = full(1, Overflow::Block);
    let delayed = TaskBuilder::new(|| 1).delay(Duration::from_secs(600)).supervisor(&sup);
    let delayed = poll(&mut delayed.start_async()).unwrap();
    assert_eq!(delayed.status(), TaskStatus::Delayed);
    assert!(delayed.cancel());
    let future = TaskBuilder::future(async { 2 }).supervisor(&sup);
    assert_eq!(poll(&mut future.start_async()).unwrap().join().unwrap(), 2);
    gate.open();
}

#[test]
fn startable_task_needs_no_room() {
    let config = PoolConfig::new(1).reserve_high(1).queue_limit(0, Overflow::Block);
    let sup = pool_with(config);
    let (busy, gate) = occupy(&sup, Low);
    assert!(poll(&mut launch(&sup)).is_none());
    let urgent = TaskBuilder::new(|| 3).priority(High).supervisor(&sup);
    assert_eq!(poll(&mut urgent.start_async()).unwrap().join().unwrap(), 3);
    gate.open();
    busy.join().unwrap();
}

#[test]
fn limit_holds_inside_tasks() {
    // Where a plain launch is admitted over the limit.
    const LIMIT: usize = 2;
    let _watchdog = Watchdog::new("limit_holds_inside_tasks", 2 * FAR);
    let sup = pool_with(PoolConfig::new(1).queue_limit(LIMIT, Overflow::Block));
    let most = Arc::new(AtomicUsize::new(0));
    let launchers: Vec<_> = (0..4)
        .map(|_| {
            let (inner, most) = (sup.clone(), Arc::clone(&most));
            sup.spawn_async(async move {
                for n in 0..100 {
                    let (seen, sup) = (Arc::clone(&most), inner.clone());
                    let builder = TaskBuilder::new(move || {
                        seen.fetch_max(sup.info().thread_pool.waiting.total(), Ordering::SeqCst);
                        n
                    });
                    let task = builder.supervisor(&inner).start_async().await;
                    most.fetch_max(inner.info().thread_pool.waiting.total(), Ordering::SeqCst);
                    drop(task);
                }
            })
        })
        .collect();
    for launcher in launchers {
        launcher.join().unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_launches_never_exceed_limit() {
    const LIMIT: usize = 3;
    let _watchdog = Watchdog::new("concurrent_launches_never_exceed_limit", 3 * FAR);
    let sup = pool_with(PoolConfig::new(2).queue_limit(LIMIT, Overflow::Block));
    let most = Arc::new(AtomicUsize::new(0));
    let futures: Vec<_> = (0..8_u32)
        .map(|_| {
            let (sup, most) = (sup.clone(), Arc::clone(&most));
            tokio::spawn(async move {
                for n in 0..200 {
                    let (seen, inner) = (Arc::clone(&most), sup.clone());
                    let builder = TaskBuilder::new(move || {
                        seen.fetch_max(inner.info().thread_pool.waiting.total(), Ordering::SeqCst);
                        n
                    });
                    let mut start = builder.supervisor(&sup).start_async();
                    if n % 7 == 0 {
                        // Given up now and then, woken or not.
                        if let Some(task) = poll_once(&mut start).await {
                            assert_eq!(task.await.unwrap(), n);
                        }
                        continue;
                    }
                    assert_eq!(start.await.await.unwrap(), n);
                }
            })
        })
        .collect();
    // Blocked threads wait in the same room.
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let sup = sup.clone();
            std::thread::spawn(move || {
                for n in 0..200 {
                    assert_eq!(sup.spawn(move || n).join().unwrap(), n);
                }
            })
        })
        .collect();
    for future in futures {
        future.await.unwrap();
    }
    for thread in threads {
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= LIMIT, "{most:?} waited");
    eventually(|| sup.tasks().is_empty());
}

#[test]
fn changed_limit_lets_launches_through() {
    let configs: [fn(PoolConfig) -> PoolConfig; 3] = [
        |config| config.queue_limit(5, Overflow::Block),
        |config| config,
        |config| config.queue_limit(1, Overflow::Reject),
    ];
    for change in configs {
        let (sup, gate) = full(1, Overflow::Block);
        let wakers = [(); 3].map(|()| Arc::new(Woken::default()));
        let mut starts = [(); 3].map(|()| launch(&sup));
        for (woken, start) in wakers.iter().zip(&mut starts) {
            assert!(woken.poll(start).is_pending());
        }
        sup.set_thread_pool(change(PoolConfig::new(1)));
        for (woken, start) in wakers.iter().zip(&mut starts) {
            assert!(woken.is_woken());
            let Poll::Ready(task) = woken.poll(start) else { panic!("no room") };
            drop(task);
        }
        gate.open();
    }
}

#[test]
fn stop_ends_launches_that_wait() {
    let _watchdog = Watchdog::new("stop_ends_launches_that_wait", 2 * FAR);
    let (sup, gate) = full(1, Overflow::Block);
    let mut start = launch(&sup);
    let woken = Arc::new(Woken::default());
    assert!(woken.poll(&mut start).is_pending());
    let ours = sup.clone();
    let stop = std::thread::spawn(move || ours.stop(StopOptions::new()));
    // While it drains, although the queue is still full.
    eventually(|| woken.is_woken());
    let Poll::Ready(task) = woken.poll(&mut start) else { panic!("launches are refused") };
    assert_eq!(task.join().unwrap_err(), TaskError::SupervisorStopped);
    let refused = poll(&mut launch(&sup)).unwrap();
    assert_eq!(refused.join().unwrap_err(), TaskError::SupervisorStopped);
    gate.open();
    assert_eq!(stop.join().unwrap().completed, 2);
    let refused = poll(&mut launch(&sup)).unwrap();
    assert_eq!(refused.join().unwrap_err(), TaskError::SupervisorStopped);
}

#[test]
fn futures_that_are_not_polled_stop_no_others() {
    let (sup, gate) = full(1, Overflow::Block);
    // Woken, but neither polled again nor dropped.
    let mut ignored: Vec<_> = (0..5).map(|_| launch(&sup)).collect();
    assert!(ignored.iter_mut().all(|start| poll(start).is_none()));
    let mut last = launch(&sup);
    let woken = Arc::new(Woken::default());
    assert!(woken.poll(&mut last).is_pending());
    gate.open();
    eventually(|| woken.is_woken());
    assert_eq!(block_on(last).join().unwrap(), 1);
}

#[tokio::test]
async fn many_launches_wait() {
    const COUNT: u32 = 5_000;
    let _watchdog = Watchdog::new("many_launches_wait", 3 * FAR);
    let (sup, gate) = full(4, Overflow::Block);
    let launches: Vec<_> = (0..COUNT)
        .map(|n| {
            let builder = TaskBuilder::new(move || n).supervisor(&sup);
            tokio::spawn(async move { builder.start_async().await.await.unwrap() })
        })
        .collect();
    tokio::task::yield_now().await;
    gate.open();
    let mut sum = 0_u64;
    for launch in launches {
        sum += u64::from(launch.await.unwrap());
    }
    assert_eq!(sum, u64::from(COUNT) * u64::from(COUNT - 1) / 2);
}

#[test]
#[should_panic(expected = "polled after its completion")]
fn completed_future_panics() {
    let sup = pool_with(PoolConfig::new(1));
    let mut start = launch(&sup);
    assert!(poll(&mut start).is_some());
    let _ = poll(&mut start);
}

#[test]
fn future_is_sent_and_moved() {
    fn check<T: Send + Unpin + std::fmt::Debug>(_: &T) {}
    let sup = pool_with(PoolConfig::new(1));
    let start = launch(&sup);
    check(&start);
    assert!(format!("{start:?}").starts_with("StartAsync"));
}
