//! Is a queue limit never exceeded, and which launches does a full queue block?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use atasker::{
    Overflow, PoolConfig, Priority, StopOptions, Supervisor, TaskBuilder, TaskError, TaskStatus,
};
use atasker_tests::{eventually, occupy, pool_with};

use Priority::{Critical, High, Low, Normal};

fn full(error: Result<u32, TaskError>) -> bool {
    matches!(error, Err(TaskError::QueueFull))
}

#[test]
fn rejected_task_fails_with_queue_full() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(2, Overflow::Reject));
    let (busy, gate) = occupy(&sup, Normal);
    let waiting = [sup.spawn(|| 1), sup.spawn(|| 2)];
    let refused = sup.spawn(|| 3);
    assert!(refused.is_completed() && !refused.is_started());
    assert_eq!(refused.status(), TaskStatus::Completed);
    assert!(sup.task(refused.id()).is_none());
    assert_eq!(sup.info().tasks, 3);
    assert!(full(refused.join()));
    // The queue has capacity again.
    assert!(waiting[0].cancel());
    let taken = sup.spawn(|| 4);
    assert!(full(sup.spawn(|| 5).join()));
    gate.open();
    busy.join().unwrap();
    assert_eq!(taken.join().unwrap(), 4);
    assert_eq!(waiting[1].wait().unwrap(), &2);
}

#[test]
fn zero_limit_accepts_startable_tasks() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Reject));
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    eventually(|| sup.info().thread_pool.running == 0);
    let (busy, gate) = occupy(&sup, Normal);
    assert!(full(sup.spawn(|| 1).join()));
    gate.open();
    busy.join().unwrap();
}

#[test]
fn startable_task_bypasses_queue() {
    for overflow in [Overflow::Reject, Overflow::Block] {
        let sup = pool_with(PoolConfig::new(1).reserve_high(1).queue_limit(1, overflow));
        let (busy, gate) = occupy(&sup, Low);
        let waits = TaskBuilder::new(|| ()).priority(Low).supervisor(&sup).start();
        for priority in [Critical, High, Critical] {
            let task = TaskBuilder::new(|| 1).priority(priority).supervisor(&sup).start();
            assert_eq!(task.join().unwrap(), 1, "{priority} {overflow:?}");
            eventually(|| sup.info().thread_pool.running == 1);
        }
        gate.open();
        busy.join().unwrap();
        waits.join().unwrap();
    }
}

#[test]
fn full_queue_blocks_launchers() {
    const LIMIT: usize = 2;
    let sup = pool_with(PoolConfig::new(1).queue_limit(LIMIT, Overflow::Block));
    let (busy, gate) = occupy(&sup, Normal);
    let most = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        let launchers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    for n in 0..50 {
                        let (inner, most) = (sup.clone(), Arc::clone(&most));
                        let task = sup.spawn(move || {
                            let waiting = inner.info().thread_pool.waiting.total();
                            most.fetch_max(waiting, Ordering::SeqCst);
                            n
                        });
                        assert_eq!(task.join().unwrap(), n);
                    }
                })
            })
            .collect();
        // One task runs, two are queued, four launchers wait.
        eventually(|| sup.info().tasks == 1 + 6);
        assert_eq!(sup.info().thread_pool.waiting.total(), LIMIT);
        assert!(launchers.iter().all(|launcher| !launcher.is_finished()));
        gate.open();
        busy.wait().unwrap();
    });
    let most = most.load(Ordering::SeqCst);
    assert!(most <= LIMIT, "{most} waited");
}

#[test]
fn launch_inside_task_never_blocks() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(1, Overflow::Block));
    let inner = sup.clone();
    let outer = sup.spawn(move || {
        let tasks: Vec<_> = (0..20).map(|n| inner.spawn(move || n)).collect();
        assert_eq!(inner.info().thread_pool.waiting.total(), 20, "admitted above the limit");
        tasks
    });
    let tasks = outer.join().unwrap();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
}

#[test]
fn launch_on_aloop_never_blocks() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(1, Overflow::Block));
    for threads in [1, 2] {
        let (busy, gate) = occupy(&sup, Normal);
        let aloop = sup.create_aloop_multi(&format!("with {threads}"), threads);
        let launch = |sup: Supervisor| async move {
            (0..20).map(|n| sup.spawn(move || n)).collect::<Vec<_>>()
        };
        let mut tasks = aloop.spawn(launch(sup.clone())).join().unwrap();
        // The same for a future on the loop that is not a task.
        tasks.extend(aloop.run(launch(sup.clone())));
        assert_eq!(sup.info().thread_pool.waiting.total(), 40);
        gate.open();
        busy.join().unwrap();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), n % 20);
        }
    }
}

#[test]
fn launch_inside_task_may_be_rejected() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(1, Overflow::Reject));
    let inner = sup.clone();
    let refused = sup.spawn(move || {
        let first = inner.spawn(|| 1);
        let second = inner.spawn(|| 2);
        (first, full(second.join()))
    });
    let (first, refused) = refused.join().unwrap();
    assert!(refused);
    assert_eq!(first.join().unwrap(), 1);
}

#[test]
fn blocked_launch_can_be_canceled() {
    for operation in 0..3 {
        let sup = pool_with(PoolConfig::new(1).queue_limit(1, Overflow::Block));
        let (busy, gate) = occupy(&sup, Normal);
        // The first of its priority in the queue.
        let victim = TaskBuilder::new(|| 1).priority(Low).supervisor(&sup).start();
        let launched = thread::scope(|scope| {
            let launcher = scope.spawn(|| {
                TaskBuilder::new(|| 2).name("late").priority(Low).supervisor(&sup).start()
            });
            eventually(|| sup.info().tasks == 3);
            let late = sup.tasks().into_iter().find(|task| task.name == "late").unwrap();
            assert_eq!(late.status, TaskStatus::Queued);
            let late = sup.task(late.id).unwrap();
            match operation {
                0 => late.stop(),
                1 => assert!(late.cancel()),
                _ => late.kill().unwrap(),
            }
            // The launcher does not wait for capacity any more.
            launcher.join().unwrap()
        });
        assert_eq!(launched.status(), TaskStatus::Canceled);
        assert!(launched.join().unwrap_err().is_canceled());
        assert_eq!(victim.status(), TaskStatus::Queued);
        assert_eq!(sup.info().thread_pool.waiting.total(), 1);
        gate.open();
        busy.join().unwrap();
        assert_eq!(victim.join().unwrap(), 1);
    }
}

#[test]
fn enlarged_queue_releases_launchers() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Block));
    let (busy, gate) = occupy(&sup, Normal);
    let task = thread::scope(|scope| {
        let launcher = scope.spawn(|| sup.spawn(|| 1));
        eventually(|| sup.info().tasks == 2);
        assert_eq!(sup.info().thread_pool.waiting.total(), 0);
        sup.set_thread_pool(PoolConfig::new(1).queue_limit(5, Overflow::Block));
        launcher.join().unwrap()
    });
    gate.open();
    busy.join().unwrap();
    assert_eq!(task.join().unwrap(), 1);
}

#[test]
fn stop_releases_blocked_launchers() {
    for cancel in [false, true] {
        let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Block));
        let (busy, gate) = occupy(&sup, Normal);
        thread::scope(|scope| {
            let launcher = scope.spawn(|| sup.spawn(|| 1));
            eventually(|| sup.info().tasks == 2);
            let stopper = scope.spawn(|| sup.stop(StopOptions::new().cancel_tasks(cancel)));
            eventually(|| !sup.is_active());
            if cancel {
                // Possibly before there is capacity.
                assert!(launcher.join().unwrap().join().unwrap_err().is_canceled());
                gate.open();
            } else {
                // The task was launched before the stop, so it runs.
                gate.open();
                assert_eq!(launcher.join().unwrap().join().unwrap(), 1);
            }
            assert_eq!(stopper.join().unwrap().abandoned, 0);
        });
        busy.join().unwrap();
    }
    // The same with a deadline.
    let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Block));
    let (_busy, gate) = occupy(&sup, Normal);
    thread::scope(|scope| {
        let launcher = scope.spawn(|| sup.spawn(|| 1));
        eventually(|| sup.info().tasks == 2);
        sup.stop(StopOptions::new().wait(std::time::Duration::ZERO));
        let late = launcher.join().unwrap();
        assert!(matches!(late.join(), Err(TaskError::SupervisorStopped)));
    });
    gate.open();
}
