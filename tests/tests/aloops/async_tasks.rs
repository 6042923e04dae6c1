//! Do futures behave as tasks, and can tasks be awaited on any executor?

use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use atasker::{
    Priority, RecvError, Supervisor, Task, TaskBuilder, TaskContext, TaskStatus, TaskType,
    WaitError,
};
use atasker_tests::{FAR, Gate, eventually, occupy, pool};

fn async_with<R, I, O, F>(
    sup: &Supervisor,
    f: impl FnOnce(TaskContext<I, O>) -> F + Send + 'static,
) -> Task<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    TaskBuilder::__future_with_context(f).supervisor(sup).start()
}

#[test]
fn async_task_starts_without_slot() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let tasks: Vec<_> = (0..100).map(|n| sup.spawn_async(async move { n })).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
    assert_eq!(sup.info().thread_pool.running, 1);
    gate.open();
    busy.join().unwrap();
}

#[test]
fn async_task_runs_in_tokio_context_of_default_loop() {
    let sup = Supervisor::builder().id("as").build();
    assert!(sup.aloop("default").is_none());
    let task = sup.spawn_async(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::spawn(async {}).await.unwrap();
        std::thread::current().name().map(str::to_owned)
    });
    assert_eq!(task.tt(), TaskType::Async);
    assert_eq!(task.join().unwrap().as_deref(), Some("supervisor_as_aloop_default"));
    assert_eq!(sup.aloop("default").unwrap().name(), "default");
}

#[test]
fn panic_fails_task_and_keeps_loop() {
    let sup = pool(1);
    let task: Task<()> = sup.spawn_async(async {
        tokio::task::yield_now().await;
        panic!("deliberate {}", "panic")
    });
    let error = task.join().unwrap_err();
    assert!(error.is_panic());
    let text = error.to_string();
    assert!(text.contains("deliberate panic") && text.contains("async_tasks.rs:"), "{text}");
    assert_eq!(sup.spawn_async(ready(1)).join().unwrap(), 1);
}

#[test]
fn async_context_behaves_as_on_threads() {
    let sup = pool(1);
    let task = async_with(&sup, |ctx: TaskContext<u64, String>| async move {
        let mut sum = 0;
        loop {
            match ctx.recv_async().await {
                Ok(n) => sum += n,
                Err(RecvError::Stopped) => break,
                Err(other) => panic!("{other}"),
            }
            ctx.progress(sum, 10);
            ctx.send_async(format!("so far {sum}")).await.unwrap();
        }
        assert!(ctx.stopped());
        ctx.stop_requested().await;
        assert_eq!((ctx.tt(), ctx.attempt()), (TaskType::Async, 1));
        sum
    });
    task.send(40).unwrap();
    assert_eq!(task.recv().unwrap(), "so far 40");
    futures_lite::future::block_on(async {
        task.send_async(2).await.unwrap();
        assert_eq!(task.recv_async().await.unwrap(), "so far 42");
    });
    assert_eq!(task.progress().unwrap().done, 42);
    task.stop();
    assert_eq!(task.join().unwrap(), 42);
}

#[test]
fn blocking_wait_on_loop_thread_panics() {
    let sup = pool(1);
    let panics = |task: Task<()>| {
        let text = task.join().unwrap_err().to_string();
        assert!(text.contains("aloop") && text.contains(".await"), "{text}");
    };
    let refused: [fn(Task<()>); 4] = [
        |task| drop(task.join()),
        |task| {
            let _ = task.wait();
        },
        |task| {
            let _ = task.wait_timeout(FAR);
        },
        |task| drop(task.to_ref().wait()),
    ];
    for wait in refused {
        let never = sup.spawn_async(pending::<()>());
        let found = never.to_ref();
        panics(sup.spawn_async(async move { wait(never) }));
        found.kill().unwrap();
    }
    panics(async_with(&sup, |ctx: TaskContext| async move {
        let _ = ctx.recv();
    }));
    panics(async_with(&sup, |ctx: TaskContext| async move {
        let _ = ctx.recv_timeout(FAR);
    }));
    panics(async_with(&sup, |ctx: TaskContext| async move {
        let _ = ctx.wait_stop(FAR);
    }));
    let (aloop, inner) = (sup.create_aloop("default"), sup.clone());
    panics(sup.spawn_async(async move { aloop.run(async {}) }));
    panics(sup.spawn_async(async move { inner.block() }));
    // Operations that do not block are allowed.
    let done = sup.spawn(|| 5);
    done.wait().unwrap();
    assert_eq!(sup.spawn_async(async move { done.join().unwrap() }).join().unwrap(), 5);
}

#[test]
fn task_is_awaitable_on_every_executor() {
    let sup = pool(1);
    let awaits = |sup: &Supervisor| {
        let (thread, future) = (sup.spawn(|| 1), sup.spawn_async(async { 2 }));
        let failed: Task<()> = sup.spawn(|| panic!("deliberate panic"));
        let delayed =
            TaskBuilder::new(|| 4).delay(Duration::from_millis(5)).supervisor(sup).start();
        async move {
            assert!(failed.await.unwrap_err().is_panic());
            thread.await.unwrap() + future.await.unwrap() + delayed.await.unwrap()
        }
    };
    assert_eq!(futures_lite::future::block_on(awaits(&sup)), 7);
    let current = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(current.block_on(awaits(&sup)), 7);
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let all: Vec<_> = (0..20).map(|_| multi.spawn(awaits(&sup))).collect();
    for one in all {
        assert_eq!(multi.block_on(one).unwrap(), 7);
    }
    assert_eq!(sup.spawn_async(awaits(&sup)).join().unwrap(), 7);
    current.block_on(async {
        let both = tokio::try_join!(sup.spawn(|| 1), sup.spawn_async(async { "a" }));
        assert_eq!(both.unwrap(), (1, "a"));
    });
}

#[test]
fn awaited_handle_may_move_between_executors() {
    use futures_lite::future::{block_on, poll_once};
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let mut task = sup.spawn(|| 7);
    assert!(block_on(poll_once(&mut task)).is_none());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            assert!(block_on(poll_once(&mut task)).is_none());
            gate.open();
            block_on(task)
        });
        assert_eq!(other.join().unwrap().unwrap(), 7);
    });
    busy.join().unwrap();
}

#[test]
fn dropped_await_keeps_task_running() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let ran = Gate::new();
    let runs = ran.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let task = sup.spawn(move || runs.open());
    runtime.block_on(async {
        let timed = tokio::time::timeout(Duration::from_millis(5), task).await;
        assert!(timed.is_err());
    });
    gate.open();
    busy.join().unwrap();
    ran.wait();
}

#[test]
fn timed_out_wait_keeps_task_running() {
    let sup = pool(1);
    let task = sup.spawn_async(pending::<()>());
    match task.wait_timeout(Duration::from_millis(5)).unwrap_err() {
        WaitError::Timeout { pending, .. } => assert_eq!(pending, [task.id()]),
        other => panic!("{other:?}"),
    }
    assert_eq!(task.status(), TaskStatus::Started);
    task.kill().unwrap();
    assert!(matches!(task.wait_timeout(FAR), Err(WaitError::Task { index: 0, .. })));
}

#[test]
fn future_is_dropped_before_end_is_published() {
    let sup = pool(1);
    let held = Arc::new(());
    for end in 0..3 {
        let args = Arc::clone(&held);
        let task = sup.spawn_async(async move {
            let _args = args;
            match end {
                0 => {}
                1 => panic!("deliberate panic"),
                _ => pending().await,
            }
        });
        if end == 2 {
            eventually(|| task.is_started());
            task.kill().unwrap();
        }
        let _ = task.wait();
        assert_eq!(Arc::strong_count(&held), 1, "{end}");
    }
}

#[test]
fn panicking_destructor_keeps_outcome() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let sup = pool(1);
    let bomb = Bomb;
    let task = sup.spawn_async(async move {
        let bomb = bomb;
        tokio::task::yield_now().await;
        std::mem::forget(bomb);
        7
    });
    assert_eq!(task.join().unwrap(), 7);
    let bomb = Bomb;
    // The destructor of the arguments runs even if the future never runs.
    let task = TaskBuilder::future(async move {
        let _bomb = &bomb;
        pending::<u32>().await
    })
    .supervisor(&sup)
    .start();
    eventually(|| task.is_started());
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    for kind in 0..2 {
        let bomb = Bomb;
        let delayed = match kind {
            0 => TaskBuilder::future(async move { drop(bomb) }),
            _ => TaskBuilder::new(move || drop(bomb)),
        };
        let task = delayed.delay(FAR).supervisor(&sup).start();
        assert!(task.cancel());
        assert!(task.join().unwrap_err().is_canceled());
    }
    assert_eq!(sup.spawn_async(ready(1)).join().unwrap(), 1);
}
