//! What can a test do with a context that it holds the other end of?

use std::thread;
use std::time::Duration;

use atasker::testing::ContextPeer;
use atasker::{Progress, RecvError, TaskContext, TaskType, TrySendError, background_task};
use atasker_tests::{FAR, Watchdog};

#[background_task]
fn echo(ctx: &TaskContext<u64, String>) -> u64 {
    let mut sum = 0;
    while let Ok(n) = ctx.recv() {
        sum += n;
        ctx.progress(sum, 10);
        ctx.message("echoing");
        ctx.send(n.to_string()).unwrap();
    }
    sum
}

#[background_task]
async fn echo_async(ctx: TaskContext<u64, String>) -> u64 {
    let mut sum = 0;
    while let Ok(n) = ctx.recv_async().await {
        sum += n;
        ctx.send_async(n.to_string()).await.unwrap();
    }
    sum
}

#[background_task(tt = "mp")]
fn echo_mp(ctx: &TaskContext<u64, String>, times: u64) -> u64 {
    let mut sum = 0;
    while let Ok(n) = ctx.recv() {
        sum += n * times;
        ctx.send(n.to_string()).unwrap();
    }
    sum
}

fn queued() -> (TaskContext<u64, String>, ContextPeer<u64, String>) {
    let (ctx, peer) = TaskContext::pair();
    peer.send(1).unwrap();
    peer.send(2).unwrap();
    peer.stop();
    (ctx, peer)
}

#[test]
fn function_exchanges_messages_with_test() {
    let _watchdog = Watchdog::new("pair", FAR);
    let (ctx, peer) = queued();
    assert_eq!(echo::call(&ctx), 3);
    assert_eq!((peer.recv().unwrap(), peer.try_recv().unwrap()), ("1".into(), "2".into()));
    assert_eq!(peer.try_recv(), Err(RecvError::Empty));
    let progress = peer.progress().unwrap();
    assert!(matches!(progress, Progress { done: 3, total: 10, .. }));
    assert_eq!(progress.message.as_deref(), Some("echoing"));
    let (ctx, peer) = queued();
    assert_eq!(echo_mp::call(&ctx, 2), 6);
    assert_eq!(peer.recv().unwrap(), "1");
}

#[test]
fn async_function_exchanges_messages_with_test() {
    let (ctx, peer) = queued();
    // The future owns the context, and drops it at its end.
    assert_eq!(futures_lite::future::block_on(echo_async::call(ctx)), 3);
    assert_eq!(peer.recv().unwrap(), "1");
    assert_eq!(peer.recv_timeout(FAR).unwrap(), "2");
    assert_eq!(peer.recv(), Err(RecvError::Closed));
    assert_eq!(peer.try_recv(), Err(RecvError::Closed));
    assert_eq!(peer.recv_timeout(FAR), Err(RecvError::Closed));
    assert_eq!(peer.send(3).unwrap_err().0, 3);
}

#[test]
fn progress_outlives_the_context() {
    let (ctx, peer) = TaskContext::<(), ()>::pair();
    assert_eq!(peer.progress(), None);
    ctx.progress(1, 2);
    drop(ctx);
    assert!(matches!(peer.progress(), Some(Progress { done: 1, total: 2, .. })));
}

#[test]
fn stop_is_noticed_in_every_way() {
    let (ctx, peer) = TaskContext::<u8, u8>::pair();
    assert!(!ctx.stopped() && !ctx.wait_stop(Duration::ZERO));
    assert_eq!(ctx.try_recv(), Err(RecvError::Empty));
    assert_eq!(ctx.recv_timeout(Duration::from_millis(1)), Err(RecvError::Timeout));
    let receiver = thread::spawn({
        let ctx = ctx.clone();
        move || ctx.recv()
    });
    peer.stop();
    assert_eq!(receiver.join().unwrap(), Err(RecvError::Stopped));
    assert!(ctx.stopped() && ctx.wait_stop(FAR));
    futures_lite::future::block_on(ctx.stop_requested());
    assert_eq!(ctx.recv(), Err(RecvError::Stopped));
    // The channels still work.
    peer.send(1).unwrap();
    ctx.send(2).unwrap();
    assert_eq!((ctx.recv(), peer.recv()), (Ok(1), Ok(2)));
}

#[test]
fn dropped_peer_closes_the_context_once_it_is_empty() {
    let (ctx, peer) = TaskContext::<u8, u8>::pair();
    peer.send(1).unwrap();
    let waits = thread::spawn({
        let ctx = ctx.clone();
        move || (ctx.recv(), ctx.recv())
    });
    drop(peer);
    assert_eq!(waits.join().unwrap(), (Ok(1), Err(RecvError::Closed)));
    assert_eq!(ctx.recv_timeout(FAR), Err(RecvError::Closed));
    assert_eq!(ctx.try_recv(), Err(RecvError::Closed));
    assert_eq!(ctx.send(7).unwrap_err().0, 7);
    assert!(matches!(ctx.try_send(8), Err(TrySendError::Closed(8))));
    assert!(!ctx.stopped());
}

#[test]
fn dropped_peer_ends_a_send_that_waits_for_room() {
    let (ctx, peer) = TaskContext::<(), u32>::pair();
    (0..1024).for_each(|n| ctx.send(n).unwrap());
    assert!(matches!(ctx.try_send(1024), Err(TrySendError::Full(1024))));
    let sender = thread::spawn(move || ctx.send(1024));
    thread::yield_now();
    drop(peer);
    assert_eq!(sender.join().unwrap().unwrap_err().0, 1024);
}

#[test]
fn context_is_dropped_with_its_last_clone() {
    let (ctx, peer) = TaskContext::<u8, u8>::pair();
    let clone = ctx.clone();
    ctx.send(1).unwrap();
    drop(ctx);
    peer.send(2).unwrap();
    let waits = thread::spawn(move || {
        assert_eq!(peer.recv(), Ok(1));
        (peer.recv(), peer.send(3))
    });
    assert_eq!(clone.recv(), Ok(2));
    drop(clone);
    let (received, sent) = waits.join().unwrap();
    assert_eq!(received, Err(RecvError::Closed));
    assert_eq!(sent.unwrap_err().0, 3);
}

#[test]
fn room_is_waited_for_on_both_sides() {
    let (ctx, peer) = TaskContext::<u32, u32>::pair();
    let sender = thread::spawn(move || {
        (0..3000).for_each(|n| peer.send(n).unwrap());
        (0..3000).map(|_| peer.recv().unwrap()).sum::<u32>()
    });
    (0..3000).for_each(|n| assert_eq!(ctx.recv(), Ok(n)));
    (0..3000).for_each(|n| ctx.send(n).unwrap());
    assert_eq!(sender.join().unwrap(), 2999 * 1500);
}

#[test]
fn context_has_an_identity() {
    let ((one, peer), (two, _other)) = (TaskContext::<u8>::pair(), TaskContext::<u8>::pair());
    assert_ne!(one.id(), two.id());
    assert_eq!((one.name(), one.tt(), one.attempt()), ("pair", TaskType::Thread, 1));
    assert!(format!("{peer:?}").contains(&one.id().to_string()));
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    is_send_and_sync(&peer);
}

#[test]
fn detached_context_receives_nothing_and_sends_nowhere() {
    let ctx = TaskContext::<u8, u8>::detached();
    assert_eq!(ctx.recv(), Err(RecvError::Closed));
    assert_eq!(ctx.recv_timeout(FAR), Err(RecvError::Closed));
    assert_eq!(ctx.try_recv(), Err(RecvError::Closed));
    assert_eq!(futures_lite::future::block_on(ctx.recv_async()), Err(RecvError::Closed));
    (0..5000).for_each(|n| ctx.send(n as u8).unwrap());
    ctx.try_send(1).unwrap();
    assert_eq!(echo::call(&TaskContext::detached()), 0);
}
