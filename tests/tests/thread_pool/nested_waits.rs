//! Can a task in a pool of one wait for anything without a deadlock, and which waits release its
//! slot?

use std::sync::Arc;

use atasker::{
    PoolConfig, Priority, StopOptions, Supervisor, Task, TaskBuilder, TaskContext, TaskStatus,
    wait_completed,
};
use atasker_tests::{FAR, Gate, eventually, occupy, pool};

fn depth(sup: &Supervisor, n: u32) -> u32 {
    if n == 0 {
        return 0;
    }
    let inner = sup.clone();
    sup.spawn(move || depth(&inner, n - 1)).join().unwrap() + 1
}

#[test]
fn thousand_nested_waits() {
    let sup =
        Supervisor::builder().id("t").thread_pool(PoolConfig::new(1).stack_size(256 << 10)).build();
    let inner = sup.clone();
    assert_eq!(sup.spawn(move || depth(&inner, 1000)).join().unwrap(), 1000);
    eventually(|| sup.info().thread_pool.running == 0);
    assert_eq!(sup.info().thread_pool.blocked, 0);
}

#[test]
fn nested_waits_through_aloops() {
    // A thread task waits for a future that awaits a thread task that waits, and so on.
    fn alternate(sup: &Supervisor, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let inner = sup.clone();
        let awaits = sup.spawn_async(async move {
            let sup = inner.clone();
            inner.spawn(move || alternate(&sup, n - 1)).await.unwrap() + 1
        });
        awaits.join().unwrap()
    }
    let sup = pool(1);
    let inner = sup.clone();
    assert_eq!(sup.spawn(move || alternate(&inner, 100)).join().unwrap(), 100);
}

/// A task that blocks in `wait` in a pool of one: another task can run meanwhile. `go` ends the
/// wait.
fn assert_releases_slot<I: Send + 'static, O: Send + 'static>(
    wait: impl FnOnce(&TaskContext<I, O>) + Send + 'static,
    go: impl FnOnce(&Task<(), I, O>),
) {
    let sup = pool(1);
    let begun = Gate::new();
    let begins = begun.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext<I, O>| {
        begins.open();
        wait(ctx);
    })
    .supervisor(&sup)
    .start();
    begun.wait();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    assert!(!task.is_completed());
    let info = sup.info().thread_pool;
    assert_eq!(info.blocked, 1);
    go(&task);
    task.join().unwrap();
    eventually(|| sup.info().thread_pool.running == 0);
    assert_eq!(sup.info().thread_pool.blocked, 0);
}

#[test]
fn recv_releases_slot() {
    assert_releases_slot::<u8, ()>(
        |ctx| assert_eq!(ctx.recv(), Ok(1)),
        |task| task.send(1).unwrap(),
    );
    let wait = |ctx: &TaskContext<u8>| assert_eq!(ctx.recv_timeout(FAR), Ok(1));
    assert_releases_slot::<u8, ()>(wait, |task| task.send(1).unwrap());
}

#[test]
fn blocked_send_releases_slot() {
    assert_releases_slot::<(), u32>(
        |ctx| (0..1025).for_each(|n| ctx.send(n).unwrap()),
        |task| assert_eq!(task.recv(), Ok(0)),
    );
}

#[test]
fn sleep_keeps_slot() {
    let sup = pool(1);
    let sleeper = TaskBuilder::with_context(|ctx: &TaskContext| {
        ctx.message("begun");
        ctx.wait_stop(FAR)
    })
    .supervisor(&sup)
    .start();
    while sleeper.progress().is_none() {
        std::thread::yield_now();
    }
    let next = sup.spawn(|| ());
    assert!(!next.is_started());
    assert_eq!(sup.info().thread_pool.blocked, 0);
    sleeper.stop();
    assert!(sleeper.join().unwrap());
    next.join().unwrap();
}

/// The same for a wait for a task of another supervisor.
fn assert_releases_slot_for<O: Send + 'static>(
    wait: impl FnOnce(Task<u32, (), O>) + Send + 'static,
    send: impl FnOnce(&TaskContext<(), O>) + Send + 'static,
) {
    let other = pool(1);
    let gate = Gate::new();
    let waits = gate.clone();
    let awaited = TaskBuilder::with_context(move |ctx: &TaskContext<(), O>| {
        waits.wait();
        send(ctx);
        7
    })
    .supervisor(&other)
    .start();
    assert_releases_slot::<(), ()>(move |_| wait(awaited), |_| gate.open());
}

#[test]
fn wait_for_task_releases_slot() {
    assert_releases_slot_for::<()>(|task| assert_eq!(task.join().unwrap(), 7), |_| {});
    assert_releases_slot_for::<()>(|task| assert_eq!(task.wait_timeout(FAR).unwrap(), &7), |_| {});
    assert_releases_slot_for::<()>(|task| assert_eq!(wait_completed!(task).unwrap(), 7), |_| {});
    assert_releases_slot_for::<u8>(
        |task| assert_eq!(task.messages().collect::<Vec<_>>(), [1, 2]),
        |ctx| {
            ctx.send(1).unwrap();
            ctx.send(2).unwrap();
        },
    );
    assert_releases_slot_for::<u8>(
        |task| assert_eq!(task.recv_timeout(FAR), Ok(3)),
        |ctx| ctx.send(3).unwrap(),
    );
}

#[test]
fn aloop_run_releases_slot() {
    let sup = pool(1);
    let (go, goes) = tokio::sync::oneshot::channel::<u32>();
    let aloop = sup.create_aloop("jobs");
    let begun = Gate::new();
    let begins = begun.clone();
    let task = sup.spawn(move || {
        aloop.run(async move {
            begins.open();
            goes.await.unwrap()
        })
    });
    begun.wait();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    go.send(42).unwrap();
    assert_eq!(task.join().unwrap(), 42);
}

#[test]
fn stop_of_other_supervisor_releases_slot() {
    let (sup, other) = (pool(1), pool(1));
    let (busy, gate) = occupy(&other, Priority::Normal);
    let stopped = other.clone();
    let task = sup.spawn(move || stopped.stop(StopOptions::new()));
    eventually(|| !other.is_active());
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    gate.open();
    busy.join().unwrap();
    assert_eq!(task.join().unwrap().completed, 1);
    // `block` waits until the supervisor is stopped and releases the slot too.
    other.start();
    let blocks = other.clone();
    let task = sup.spawn(move || blocks.block());
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    eventually(|| sup.info().thread_pool.blocked == 1);
    other.stop(StopOptions::new());
    task.join().unwrap();
}

#[test]
fn woken_task_continues_immediately_above_limit() {
    let sup = pool(1);
    // A waits for a message, and B takes the slot.
    let (woken, gate) = (Gate::new(), Gate::new());
    let (wakes, waits) = (woken.clone(), gate.clone());
    let a = TaskBuilder::with_context(move |ctx: &TaskContext<()>| {
        ctx.recv().unwrap();
        wakes.open();
        waits.wait();
    })
    .supervisor(&sup)
    .start();
    let (b, b_gate) = occupy(&sup, Priority::Normal);
    a.send(()).unwrap();
    woken.wait();
    assert_eq!(sup.info().thread_pool.running, 2, "two tasks run in a pool of one");
    let c = sup.spawn(|| ());
    gate.open();
    a.join().unwrap();
    eventually(|| sup.info().thread_pool.running == 1);
    assert_eq!(c.status(), TaskStatus::Queued, "one task still runs");
    b_gate.open();
    b.join().unwrap();
    c.join().unwrap();
}

#[test]
fn wait_for_ended_task_keeps_slot() {
    let sup = pool(1);
    let inner = sup.clone();
    let done = sup.spawn(|| 5);
    done.wait().unwrap();
    let task = sup.spawn(move || {
        let waiting = inner.spawn(|| ());
        assert_eq!(done.join().unwrap(), 5);
        (waiting.status(), waiting)
    });
    let (status, waiting) = task.join().unwrap();
    assert_eq!(status, TaskStatus::Queued);
    waiting.join().unwrap();
}

#[test]
fn tree_of_waits_in_small_pools() {
    fn tree(sup: &Supervisor, n: u32) -> u32 {
        if n == 0 {
            return 1;
        }
        let child = || {
            let inner = sup.clone();
            let priority = Priority::ALL[n as usize % 4];
            TaskBuilder::new(move || tree(&inner, n - 1)).priority(priority).supervisor(sup).start()
        };
        let (a, b) = wait_completed!(child(), child()).unwrap();
        a + b
    }
    for size in 1..4 {
        let sup =
            Supervisor::builder().thread_pool(PoolConfig::new(size).stack_size(256 << 10)).build();
        let inner = sup.clone();
        assert_eq!(sup.spawn(move || tree(&inner, 8)).join().unwrap(), 256);
    }
}

#[test]
fn two_pools_wait_for_each_other() {
    fn ping(these: &Arc<[Supervisor; 2]>, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        let inner = Arc::clone(these);
        these[n % 2].spawn(move || ping(&inner, n - 1)).join().unwrap() + 1
    }
    let both = Arc::new([pool(1), pool(1)]);
    let inner = Arc::clone(&both);
    assert_eq!(both[0].spawn(move || ping(&inner, 200)).join().unwrap(), 200);
}
