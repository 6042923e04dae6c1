//! Is a full queue never overfilled, and whom does it hold up?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use atasker::{
    Overflow, PoolConfig, Priority, StopOptions, Supervisor, TaskBuilder, TaskError, TaskStatus,
};
use atasker_tests::{eventually, occupy};

use Priority::{Critical, High, Low, Normal};

fn with(config: PoolConfig) -> Supervisor {
    Supervisor::builder().id("t").thread_pool(config).build()
}

fn full(error: Result<u32, TaskError>) -> bool {
    matches!(error, Err(TaskError::QueueFull))
}

#[test]
fn a_rejected_task_is_complete_with_queue_full() {
    let sup = with(PoolConfig::new(1).queue_limit(2, Overflow::Reject));
    let (busy, gate) = occupy(&sup, Normal);
    let waiting = [sup.spawn(|| 1), sup.spawn(|| 2)];
    let refused = sup.spawn(|| 3);
    assert!(refused.is_completed() && !refused.is_started());
    assert_eq!(refused.status(), TaskStatus::Completed);
    assert!(sup.task(refused.id()).is_none());
    assert_eq!(sup.info().tasks, 3);
    assert!(full(refused.join()));
    // Room again.
    assert!(waiting[0].cancel());
    let taken = sup.spawn(|| 4);
    assert!(full(sup.spawn(|| 5).join()));
    gate.open();
    busy.join().unwrap();
    assert_eq!(taken.join().unwrap(), 4);
    assert_eq!(waiting[1].wait().unwrap(), &2);
}

#[test]
fn a_limit_of_nothing_takes_what_can_start() {
    let sup = with(PoolConfig::new(1).queue_limit(0, Overflow::Reject));
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    eventually(|| sup.info().thread_pool.running == 0);
    let (busy, gate) = occupy(&sup, Normal);
    assert!(full(sup.spawn(|| 1).join()));
    gate.open();
    busy.join().unwrap();
}

#[test]
fn one_that_would_start_at_once_does_not_wait_in_the_queue() {
    for overflow in [Overflow::Reject, Overflow::Block] {
        let sup = with(PoolConfig::new(1).reserve_high(1).queue_limit(1, overflow));
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
fn launchers_wait_for_room_and_never_overfill_the_queue() {
    const LIMIT: usize = 2;
    let sup = with(PoolConfig::new(1).queue_limit(LIMIT, Overflow::Block));
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
        // One runs, two wait, four launchers do.
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
fn a_launch_inside_a_task_is_never_held_up() {
    let sup = with(PoolConfig::new(1).queue_limit(1, Overflow::Block));
    let inner = sup.clone();
    let outer = sup.spawn(move || {
        let tasks: Vec<_> = (0..20).map(|n| inner.spawn(move || n)).collect();
        assert_eq!(inner.info().thread_pool.waiting.total(), 20, "admitted over the limit");
        tasks
    });
    let tasks = outer.join().unwrap();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
}

#[test]
fn nor_one_on_an_aloop() {
    let sup = with(PoolConfig::new(1).queue_limit(1, Overflow::Block));
    for threads in [1, 2] {
        let (busy, gate) = occupy(&sup, Normal);
        let aloop = sup.create_aloop_multi(&format!("with {threads}"), threads);
        let launch = |sup: Supervisor| async move {
            (0..20).map(|n| sup.spawn(move || n)).collect::<Vec<_>>()
        };
        let mut tasks = aloop.spawn(launch(sup.clone())).join().unwrap();
        // A future that is no task is on the loop all the same.
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
fn a_launch_inside_a_task_may_be_rejected() {
    let sup = with(PoolConfig::new(1).queue_limit(1, Overflow::Reject));
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
fn a_launch_that_waits_can_be_canceled_and_nobody_else_is_hit() {
    for verb in 0..3 {
        let sup = with(PoolConfig::new(1).queue_limit(1, Overflow::Block));
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
            match verb {
                0 => late.stop(),
                1 => assert!(late.cancel()),
                _ => late.kill().unwrap(),
            }
            // The launcher need not wait for room any more.
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
fn a_larger_queue_lets_launchers_go_on() {
    let sup = with(PoolConfig::new(1).queue_limit(0, Overflow::Block));
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
fn a_stop_frees_launchers_that_wait() {
    for cancel in [false, true] {
        let sup = with(PoolConfig::new(1).queue_limit(0, Overflow::Block));
        let (busy, gate) = occupy(&sup, Normal);
        thread::scope(|scope| {
            let launcher = scope.spawn(|| sup.spawn(|| 1));
            eventually(|| sup.info().tasks == 2);
            let stopper = scope.spawn(|| sup.stop(StopOptions::new().cancel_tasks(cancel)));
            eventually(|| !sup.is_active());
            if cancel {
                // Even before there is room.
                assert!(launcher.join().unwrap().join().unwrap_err().is_canceled());
                gate.open();
            } else {
                // It was launched before the stop, so it runs.
                gate.open();
                assert_eq!(launcher.join().unwrap().join().unwrap(), 1);
            }
            assert_eq!(stopper.join().unwrap().abandoned, 0);
        });
        busy.join().unwrap();
    }
    // At a deadline, too.
    let sup = with(PoolConfig::new(1).queue_limit(0, Overflow::Block));
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
