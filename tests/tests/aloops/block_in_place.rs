//! Does a blocking wait work where tokio permits blocking, and panic elsewhere?

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use atasker::{Aloop, StopOptions, Supervisor, TaskBuilder, TaskContext, background_task};
use atasker_tests::{FAR, Gate, Watchdog, pool};
use tokio::task::block_in_place;

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

/// A supervisor with an aloop that has two threads.
fn with_loop() -> (Supervisor, Aloop) {
    let sup = pool(1);
    let aloop = sup.create_aloop_multi("multi", 2);
    (sup, aloop)
}

#[test]
fn block_in_place_waits_for_every_kind() {
    let _watchdog = Watchdog::new("block_in_place", FAR);
    let (sup, aloop) = with_loop();
    let (ours, same) = (sup.clone(), aloop.clone());
    let task = aloop.spawn(async move {
        let gate = Gate::new();
        let held = gate.clone();
        // The task does not end before the wait begins.
        let slow = ours.spawn(move || held.wait());
        let own = same.spawn(async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            1
        });
        let sum = block_in_place(|| {
            let opener = thread::spawn(move || gate.open());
            slow.join().unwrap();
            opener.join().unwrap();
            // A task on this loop, one on a thread, one in a worker process, and a run on the loop.
            let nested = TaskBuilder::new({
                let ours = ours.clone();
                move || ours.spawn(|| 10).join().unwrap()
            });
            own.join().unwrap()
                + nested.supervisor(&ours).start().join().unwrap()
                + double(50).join().unwrap() as i32
                + same.run(async {
                    tokio::task::yield_now().await;
                    1000
                })
        });
        tokio::task::yield_now().await;
        // The same nested in another `block_in_place`.
        sum + block_in_place(|| block_in_place(|| ours.spawn(|| 10_000).join().unwrap()))
    });
    assert_eq!(task.join().unwrap(), 11_111);
}

#[test]
fn loop_continues_during_block_in_place() {
    let _watchdog = Watchdog::new("loop_continues_during_block_in_place", FAR);
    let (_sup, aloop) = with_loop();
    let (sender, reported) = mpsc::channel();
    // All threads of the loop block, each waiting for a task that must run on that loop.
    let waiters: Vec<_> = (0..8)
        .map(|n| {
            let (same, sender) = (aloop.clone(), sender.clone());
            aloop.spawn(async move {
                let inner = same.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    sender.send(n).unwrap();
                });
                block_in_place(|| inner.join().unwrap());
            })
        })
        .collect();
    waiters.into_iter().for_each(|task| task.join().unwrap());
    drop(sender);
    assert_eq!(reported.iter().count(), 8);
}

#[test]
fn context_channels_and_stop_work_in_block_in_place() {
    let _watchdog = Watchdog::new("contexts in block_in_place", FAR);
    let (sup, aloop) = with_loop();
    let echo = TaskBuilder::with_context(|ctx: &TaskContext<u8, u8>| {
        ctx.send(ctx.recv().unwrap()).unwrap();
    });
    let echo = echo.supervisor(&sup).start();
    let other = Supervisor::builder().build();
    let task = aloop.spawn(async move {
        block_in_place(|| {
            echo.send(7).unwrap();
            let answer = echo.recv().unwrap();
            let last = other.spawn(|| 1);
            other.stop(StopOptions::new());
            (answer, last.join().unwrap())
        })
    });
    assert_eq!(task.join().unwrap(), (7, 1));
}

#[test]
fn wait_outside_block_in_place_panics() {
    let _watchdog = Watchdog::new("waits on loops", FAR);
    for threads in [1, 2] {
        let sup = pool(1);
        let aloop = sup.create_aloop_multi("loop", threads);
        let waits = move |sup: &Supervisor| {
            let gate = Gate::new();
            let held = gate.clone();
            let blocked = sup.spawn(move || held.wait());
            let waited =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| blocked.wait().is_ok()));
            gate.open();
            let text = waited.unwrap_err();
            assert!(text.downcast_ref::<String>().unwrap().contains("use `.await`"));
        };
        let ours = sup.clone();
        aloop.spawn(async move { waits(&ours) }).join().unwrap();
        // `block_in_place` is not active here.
        let ours = sup.clone();
        let free = tokio::task::unconstrained(async move { waits(&ours) });
        aloop.spawn(free).join().unwrap();
        if threads == 2 {
            // Waiting panics again once the thread has been returned to the loop.
            let ours = sup.clone();
            let task = aloop.spawn(async move {
                block_in_place(|| ours.spawn(|| ()).join().unwrap());
                waits(&ours);
                tokio::task::yield_now().await;
                waits(&ours);
            });
            task.join().unwrap();
        }
    }
}

#[test]
fn spawn_blocking_thread_may_wait() {
    let _watchdog = Watchdog::new("spawn_blocking", FAR);
    let (sup, aloop) = with_loop();
    // This includes threads that belonged to the loop before they were handed over.
    for _ in 0..20 {
        let ours = sup.clone();
        let task = aloop.spawn(async move {
            let sup = ours.clone();
            block_in_place(|| sup.spawn(|| ()).join().unwrap());
            let waits = tokio::task::spawn_blocking(move || {
                let slow = ours.spawn(|| thread::sleep(Duration::from_millis(1)));
                slow.join().is_ok()
            });
            waits.await.unwrap()
        });
        assert!(task.join().unwrap());
    }
}
