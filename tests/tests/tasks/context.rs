//! Can a task be stopped, exchange messages, and report progress through its context?

use std::sync::{Arc, Barrier};
use std::time::Duration;

use atasker::{
    Priority, RecvError, Supervisor, Task, TaskBuilder, TaskContext, TaskType, TrySendError,
};
use atasker_tests::{FAR, Gate, eventually, pool};

const CAPACITY: usize = 1024;

fn with<R, I, O>(
    sup: &Supervisor,
    f: impl FnOnce(&TaskContext<I, O>) -> R + Send + 'static,
) -> Task<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    TaskBuilder::with_context(f).supervisor(sup).start()
}

#[test]
fn context_has_id_name_and_attempt() {
    let sup = pool(1);
    let task = TaskBuilder::with_context(|ctx: &TaskContext| {
        assert_eq!((ctx.name(), ctx.priority()), ("me", Priority::High));
        assert_eq!((ctx.tt(), ctx.attempt()), (TaskType::Thread, 1));
        assert!(!ctx.stopped());
        ctx.id()
    })
    .name("me")
    .priority(Priority::High)
    .supervisor(&sup)
    .start();
    assert_eq!(*task.wait().unwrap(), task.id());
}

#[test]
fn stop_after_launch_lets_task_reply() {
    let sup = pool(2);
    for _ in 0..300 {
        let task = with(&sup, |ctx: &TaskContext| {
            while !ctx.stopped() {
                std::thread::yield_now();
            }
            "done."
        });
        task.stop();
        assert_eq!(task.wait().unwrap(), &"done.");
        assert!(task.is_completed() && task.error().is_none());
        eventually(|| sup.info().thread_pool.running == 0);
    }
}

#[test]
fn stop_ends_every_wait_of_task() {
    // One slot per task, because a task that is still queued would be canceled instead.
    let sup = pool(8);
    let task = with(&sup, |ctx: &TaskContext| ctx.wait_stop(FAR));
    task.stop();
    assert!(task.join().unwrap());
    let task = with(&sup, |ctx: &TaskContext| futures_lite::future::block_on(ctx.stop_requested()));
    task.stop();
    task.join().unwrap();
    let task = with(&sup, |ctx: &TaskContext<u8>| ctx.recv());
    task.stop();
    assert_eq!(task.join().unwrap(), Err(RecvError::Stopped));
    let task = with(&sup, |ctx: &TaskContext<u8>| ctx.recv_timeout(FAR));
    task.stop();
    assert_eq!(task.join().unwrap(), Err(RecvError::Stopped));
    let task = with(&sup, |ctx: &TaskContext<u8>| futures_lite::future::block_on(ctx.recv_async()));
    task.stop();
    assert_eq!(task.join().unwrap(), Err(RecvError::Stopped));
    // The stop is requested before the wait begins.
    let gate = Gate::new();
    let waits = gate.clone();
    let task = with(&sup, move |ctx: &TaskContext<u8>| {
        waits.wait();
        assert!(ctx.stopped() && ctx.wait_stop(FAR));
        (ctx.try_recv(), ctx.recv())
    });
    task.stop();
    gate.open();
    assert_eq!(task.join().unwrap(), (Err(RecvError::Stopped), Err(RecvError::Stopped)));
}

#[test]
fn timeout_ends_wait() {
    let sup = pool(1);
    let short = Duration::from_millis(5);
    let task = with(&sup, move |ctx: &TaskContext<u8>| {
        let begun = std::time::Instant::now();
        assert!(!ctx.wait_stop(short));
        assert!(begun.elapsed() >= short);
        assert!(!ctx.wait_stop(Duration::ZERO));
        (ctx.recv_timeout(short), ctx.recv_timeout(Duration::ZERO), ctx.try_recv())
    });
    let none = (Err(RecvError::Timeout), Err(RecvError::Timeout), Err(RecvError::Empty));
    assert_eq!(task.join().unwrap(), none);
    let gate = Gate::new();
    let waits = gate.clone();
    let task = with(&sup, move |_: &TaskContext<(), u8>| waits.wait());
    assert_eq!(task.recv_timeout(short), Err(RecvError::Timeout));
    assert_eq!(task.try_recv(), Err(RecvError::Empty));
    gate.open();
    assert_eq!(task.recv(), Err(RecvError::Closed));
    assert_eq!(task.try_recv(), Err(RecvError::Closed));
}

#[test]
fn messages_before_stop_are_received_first() {
    let sup = pool(1);
    let gate = Gate::new();
    let waits = gate.clone();
    let task = with(&sup, move |ctx: &TaskContext<u32>| {
        waits.wait();
        let mut all = Vec::new();
        while let Ok(n) = ctx.recv() {
            all.push(n);
        }
        all
    });
    (0..100).for_each(|n| task.send(n).unwrap());
    task.stop();
    gate.open();
    assert_eq!(task.join().unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn channel_to_task_holds_1024_messages() {
    let sup = pool(1);
    let gate = Gate::new();
    let waits = gate.clone();
    let task = with(&sup, move |ctx: &TaskContext<usize, ()>| {
        waits.wait();
        std::iter::from_fn(|| ctx.recv().ok()).collect::<Vec<_>>()
    });
    (0..CAPACITY).for_each(|n| task.try_send(n).unwrap());
    assert_eq!(task.try_send(7), Err(TrySendError::Full(7)));
    assert_eq!(TrySendError::Full(7).into_inner(), 7);
    std::thread::scope(|scope| {
        // `send` blocks until there is capacity.
        let sender = scope.spawn(|| task.send(CAPACITY));
        let other = scope.spawn(|| futures_lite::future::block_on(task.send_async(CAPACITY)));
        std::thread::yield_now();
        assert!(!sender.is_finished() && !other.is_finished());
        gate.open();
        sender.join().unwrap().unwrap();
        other.join().unwrap().unwrap();
    });
    task.stop();
    let expected: Vec<_> = (0..=CAPACITY).chain([CAPACITY]).collect();
    assert_eq!(task.join().unwrap(), expected);
}

#[test]
fn channel_from_task_holds_1024_messages() {
    let sup = pool(1);
    let full = Gate::new();
    let tells = full.clone();
    let task = with(&sup, move |ctx: &TaskContext<(), usize>| {
        (0..CAPACITY).for_each(|n| ctx.try_send(n).unwrap());
        assert_eq!(ctx.try_send(7), Err(TrySendError::Full(7)));
        tells.open();
        ctx.send(CAPACITY).unwrap();
        futures_lite::future::block_on(ctx.send_async(CAPACITY + 1)).unwrap();
    });
    full.wait();
    assert_eq!(task.messages().collect::<Vec<_>>(), (0..CAPACITY + 2).collect::<Vec<_>>());
    assert!(task.is_completed(), "the channel closes when the task ends");
    task.join().unwrap();
}

#[test]
fn send_to_ended_task_returns_value() {
    let sup = pool(2);
    for _ in 0..300 {
        let task = with(&sup, |_: &TaskContext<String>| ());
        while !task.is_completed() {
            std::hint::spin_loop();
        }
        assert_eq!(task.send("back".into()).unwrap_err().0, "back");
        assert_eq!(task.try_send("back".into()), Err(TrySendError::Closed("back".into())));
        let sent = futures_lite::future::block_on(task.send_async("back".into()));
        assert_eq!(sent.unwrap_err().0, "back");
        assert_eq!(task.try_recv(), Err(RecvError::Closed));
    }
    // A send that waits for capacity when the task ends.
    let gate = Gate::new();
    let waits = gate.clone();
    let task = with(&sup, move |_: &TaskContext<usize>| waits.wait());
    (0..CAPACITY).for_each(|n| task.send(n).unwrap());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| task.send(7));
        gate.open();
        assert_eq!(sender.join().unwrap().unwrap_err().0, 7);
    });
    // A task without a context receives no messages.
    let task = sup.spawn(|| ());
    assert!(task.send(()).is_err());
    assert_eq!(task.recv(), Err(RecvError::Closed));
    assert_eq!(task.messages().count(), 0);
}

#[test]
fn messages_of_ended_task_are_receivable() {
    let sup = pool(1);
    let task = with(&sup, |ctx: &TaskContext<(), u8>| {
        ctx.send(1).unwrap();
        ctx.send(2).unwrap();
        ctx.send(3).unwrap();
    });
    task.wait().unwrap();
    assert_eq!(task.recv(), Ok(1));
    assert_eq!(task.try_recv(), Ok(2));
    assert_eq!(futures_lite::future::block_on(task.recv_async()), Ok(3));
    assert_eq!(futures_lite::future::block_on(task.recv_async()), Err(RecvError::Closed));
}

#[test]
fn concurrent_senders_and_receivers_deliver_once() {
    let sup = pool(1);
    for _ in 0..10 {
        let task = with(&sup, |ctx: &TaskContext<u64, u64>| {
            // Two receivers run concurrently and send back what they receive.
            std::thread::scope(|scope| {
                let receivers: Vec<_> = (0..2)
                    .map(|_| {
                        let ctx = ctx.clone();
                        scope.spawn(move || {
                            let mut sum = 0;
                            while let Ok(n) = ctx.recv() {
                                sum += n;
                                ctx.send(n).unwrap();
                            }
                            sum
                        })
                    })
                    .collect();
                receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum::<u64>()
            })
        });
        let start = Arc::new(Barrier::new(3));
        let echoed: u64 = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..3)
                .map(|_| {
                    let (start, task) = (Arc::clone(&start), &task);
                    scope.spawn(move || {
                        start.wait();
                        (0..1500).for_each(|n| task.send(n).unwrap());
                    })
                })
                .collect();
            let all = scope.spawn(|| (0..4500).map(|_| task.recv().unwrap()).sum());
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            all.join().unwrap()
        });
        task.stop();
        assert_eq!((echoed, task.join().unwrap()), (3 * 1499 * 750, 3 * 1499 * 750));
    }
}

#[test]
fn progress_is_visible_in_info() {
    let sup = pool(1);
    let (said, gate) = (Gate::new(), Gate::new());
    let (says, waits) = (said.clone(), gate.clone());
    let task = with(&sup, move |ctx: &TaskContext| {
        ctx.progress(1, 4);
        says.open();
        waits.wait();
        ctx.progress(4, 4);
        ctx.message("complete");
    });
    said.wait();
    let progress = task.progress().unwrap();
    assert_eq!((progress.done, progress.total, progress.message), (1, 4, None));
    gate.open();
    task.wait().unwrap();
    let progress = task.progress().unwrap();
    assert_eq!((progress.done, progress.total), (4, 4));
    assert_eq!(progress.message.as_deref(), Some("complete"));
    assert_eq!(task.info().progress, task.progress());
    assert_eq!(sup.spawn(|| ()).progress(), None);
}

#[test]
fn context_may_outlive_task() {
    let sup = pool(1);
    let ctx = with(&sup, |ctx: &TaskContext<u8, u8>| ctx.clone()).join().unwrap();
    assert_eq!(ctx.recv(), Err(RecvError::Closed));
    assert_eq!(ctx.try_recv(), Err(RecvError::Closed));
    assert_eq!(ctx.send(1).unwrap_err().0, 1);
    assert!(!ctx.stopped());
    ctx.progress(1, 1);
}

#[test]
fn detached_context_has_no_task() {
    let ctx: TaskContext<u8, u8> = TaskContext::detached();
    assert!(!ctx.stopped() && !ctx.wait_stop(Duration::ZERO));
    assert_eq!(ctx.try_recv(), Err(RecvError::Closed));
    assert_eq!(ctx.recv_timeout(Duration::ZERO), Err(RecvError::Closed));
    ctx.send(1).unwrap();
    ctx.progress(1, 2);
    ctx.message("discarded");
}

#[test]
fn unread_messages_are_dropped_with_task() {
    let sup = pool(1);
    let held = Arc::new(());
    let gate = Gate::new();
    let waits = gate.clone();
    let task = with(&sup, move |ctx: &TaskContext<Arc<()>, Arc<()>>| {
        let one = ctx.recv().unwrap();
        ctx.send(Arc::clone(&one)).unwrap();
        waits.wait();
    });
    (0..5).for_each(|_| task.send(Arc::clone(&held)).unwrap());
    gate.open();
    task.join().unwrap();
    eventually(|| Arc::strong_count(&held) == 1);
}
