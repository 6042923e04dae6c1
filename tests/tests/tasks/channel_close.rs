//! When does a task's `send` return the message, on a thread, on an aloop and in a worker process?

use std::sync::mpsc;

use atasker::{
    MpPoolConfig, RecvError, SendError, Supervisor, Task, TaskBuilder, TaskContext, TrySendError,
    background_task,
};
use atasker_tests::{FAR, Watchdog};

const CAPACITY: u64 = 1024;

/// Sends until an error occurs. Returns the number of messages sent and whether a stop was
/// requested.
fn send_on(ctx: &TaskContext<(), u64>) -> (u64, bool) {
    let sent = (0..).find(|n| ctx.send(*n).is_err()).expect("send fails eventually");
    (sent, ctx.stopped())
}

#[background_task]
fn on_thread(ctx: &TaskContext<(), u64>) -> (u64, bool) {
    send_on(ctx)
}

#[background_task(tt = "mp")]
fn in_process(ctx: &TaskContext<(), u64>) -> (u64, bool) {
    send_on(ctx)
}

#[background_task]
async fn on_aloop(ctx: TaskContext<(), u64>) -> (u64, bool) {
    let mut sent = 0;
    while ctx.send_async(sent).await.is_ok() {
        sent += 1;
    }
    (sent, ctx.stopped())
}

type Sends = Task<(u64, bool), (), u64>;

fn everywhere(check: fn(Sends)) {
    let _watchdog = Watchdog::new("channels", FAR);
    let sockets = MpPoolConfig::new(1).__over_sockets(true);
    let sockets = Supervisor::builder().id("sockets").mp_pool(sockets).build();
    check(on_thread());
    check(on_aloop());
    check(in_process());
    check(in_process::builder().supervisor(&sockets).start());
}

/// Waits until the task has begun to send. Whether it already blocks for capacity cannot be
/// observed.
fn has_begun(task: &Sends) {
    task.recv().unwrap();
}

#[test]
fn send_without_handle_fails_immediately() {
    everywhere(|task| {
        has_begun(&task);
        let found = task.to_ref();
        drop(task);
        found.wait().unwrap();
        let (sent, stopped) = found.result_cloned::<(u64, bool)>().unwrap().unwrap();
        assert!(!stopped && sent <= CAPACITY + 2, "{sent}");
    });
}

#[test]
fn handle_dropped_before_begin_closes_channel() {
    let _watchdog = Watchdog::new("handle_dropped_before_begin_closes_channel", FAR);
    let sup = Supervisor::builder().id("early").mp_pool(MpPoolConfig::new(1)).build();
    let first = in_process::builder().supervisor(&sup).start();
    let second = in_process::builder().supervisor(&sup).start();
    has_begun(&first);
    let found = second.to_ref();
    drop(second);
    first.stop();
    assert!(first.join().unwrap().1);
    found.wait().unwrap();
    let (sent, stopped) = found.result_cloned::<(u64, bool)>().unwrap().unwrap();
    assert_eq!((sent, stopped), (0, false));
}

#[test]
fn stop_wakes_blocked_sender() {
    everywhere(|task| {
        has_begun(&task);
        task.stop();
        let (sent, stopped) = task.join().unwrap();
        // Messages within the capacity were sent, including those after the stop request.
        assert!(stopped && sent >= CAPACITY, "{sent}");
    });
}

#[test]
fn recreated_handle_receives_again() {
    #[background_task(tt = "mp")]
    fn sends_on_request(ctx: &TaskContext<u64, u64>) -> Vec<bool> {
        let mut went = Vec::new();
        while let Ok(n) = ctx.recv() {
            went.push(ctx.send(n).is_ok());
        }
        went
    }
    let _watchdog = Watchdog::new("typed again", FAR);
    let task = sends_on_request();
    task.send(1).unwrap();
    assert_eq!(task.recv().unwrap(), 1);
    let found = task.to_ref();
    drop(task);
    let task: Task<Vec<bool>, u64, u64> = found.typed().unwrap();
    task.send(2).unwrap();
    assert_eq!(task.recv().unwrap(), 2);
    task.stop();
    assert_eq!(task.join().unwrap(), [true, true]);
}

#[test]
fn try_send_distinguishes_full_and_closed() {
    let _watchdog = Watchdog::new("try_send", FAR);
    let (sender, receiver) = mpsc::channel::<TaskContext<(), u64>>();
    let (done, is_done) = mpsc::channel::<()>();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext<(), u64>| {
        sender.send(ctx.clone()).unwrap();
        is_done.recv().unwrap();
    })
    .start();
    let ctx = receiver.recv().unwrap();
    (0..CAPACITY).for_each(|n| ctx.try_send(n).unwrap());
    assert_eq!(ctx.try_send(7), Err(TrySendError::Full(7)));
    task.stop();
    assert_eq!(ctx.send(8), Err(SendError(8)), "the channel is full");
    assert_eq!(task.recv().unwrap(), 0);
    ctx.send(9).unwrap();
    let found = task.to_ref();
    drop(task);
    assert_eq!(ctx.try_send(10), Err(TrySendError::Closed(10)));
    assert_eq!(ctx.send(11), Err(SendError(11)));
    let again = futures_lite::future::block_on(ctx.send_async(12));
    assert_eq!(again, Err(SendError(12)));
    done.send(()).unwrap();
    found.wait().unwrap();
}

#[test]
fn detached_context_discards_messages() {
    let _watchdog = Watchdog::new("detached", FAR);
    let ctx = TaskContext::<u8, std::sync::Arc<()>>::detached();
    assert_eq!(ctx.recv(), Err(RecvError::Closed));
    assert_eq!(ctx.recv_timeout(FAR), Err(RecvError::Closed));
    assert_eq!(ctx.try_recv(), Err(RecvError::Closed));
    assert_eq!(futures_lite::future::block_on(ctx.recv_async()), Err(RecvError::Closed));
    let value = std::sync::Arc::new(());
    for _ in 0..3 * CAPACITY {
        ctx.send(value.clone()).unwrap();
        ctx.try_send(value.clone()).unwrap();
        futures_lite::future::block_on(ctx.send_async(value.clone())).unwrap();
    }
    assert_eq!(std::sync::Arc::strong_count(&value), 1, "a sent message is dropped");
    assert!(!ctx.stopped());
}

/// Messages larger than the capacity of a channel arrive one after the other.
#[test]
fn large_messages_cross_in_both_directions() {
    #[background_task(tt = "mp")]
    fn echoes(ctx: &TaskContext<String, String>) -> usize {
        let mut count = 0;
        while let Ok(message) = ctx.recv() {
            ctx.send(message).unwrap();
            count += 1;
        }
        count
    }
    let _watchdog = Watchdog::new("large messages", 2 * FAR);
    let task = echoes();
    const COUNT: usize = 12;
    let text = |n: usize| char::from(b'a' + n as u8).to_string().repeat(20 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..COUNT).for_each(|n| task.send(text(n)).unwrap()));
        (0..COUNT).for_each(|n| assert!(task.recv().unwrap() == text(n), "{n}"));
    });
    task.stop();
    assert_eq!(task.join().unwrap(), COUNT);
}
