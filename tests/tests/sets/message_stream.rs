//! Does the stream of messages yield each message once, end with the task, and give it back?

use std::time::Duration;

use atasker::{MessageStream, MpPoolConfig, Task, TaskBuilder, TaskContext, background_task};
use atasker_tests::{Gate, mp, pool};
use futures_lite::future::{block_on, poll_once};
use futures_lite::{Stream, StreamExt};

use crate::gated;

/// Sends the numbers below what it receives, then returns how many it has sent.
fn counts(ctx: &TaskContext<u64, u64>) -> u64 {
    let most = ctx.recv().unwrap();
    (0..most).filter(|n| ctx.send(*n).is_ok()).count() as u64
}

#[background_task(tt = "mp")]
fn counts_in_process(ctx: &TaskContext<u64, u64>) -> u64 {
    counts(ctx)
}

#[background_task]
async fn counts_on_aloop(ctx: TaskContext<u64, u64>) -> u64 {
    let most = ctx.recv_async().await.unwrap();
    for n in 0..most {
        ctx.send_async(n).await.unwrap();
    }
    most
}

/// More messages than a channel holds.
const MANY: u64 = 5_000;

async fn streams(task: Task<u64, u64, u64>) {
    let mut stream = task.into_message_stream();
    // Nothing was sent yet, whether or not the task has begun.
    assert!(poll_once(stream.next()).await.is_none());
    stream.task().send(MANY).unwrap();
    let mut next = 0;
    while let Some(n) = stream.next().await {
        assert_eq!(n, next);
        next += 1;
    }
    assert_eq!((next, stream.next().await), (MANY, None));
    assert_eq!(stream.into_task().await.unwrap(), MANY);
}

#[tokio::test]
async fn messages_of_every_place_are_streamed() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    streams(TaskBuilder::with_context(counts).supervisor(&sup).start()).await;
    streams(counts_in_process::builder().supervisor(&sup).start()).await;
    streams(counts_on_aloop::builder().supervisor(&sup).start()).await;
}

#[test]
fn task_is_given_back_with_its_messages() {
    let sup = pool(1);
    let task = TaskBuilder::with_context(counts).supervisor(&sup).start();
    task.send(3).unwrap();
    let mut stream = task.into_message_stream();
    assert_eq!(block_on(stream.next()), Some(0));
    // A future that has registered its waker is dropped.
    let _ = block_on(poll_once(stream.next()));
    let task = stream.into_task();
    task.wait().unwrap();
    let rest = [task.try_recv(), task.try_recv(), task.try_recv()];
    assert!(rest.iter().flatten().last() == Some(&2), "{rest:?}");
    assert_eq!(task.into_message_stream().task().wait().unwrap(), &3);
}

#[tokio::test]
async fn stream_of_task_without_channels_ends_with_it() {
    let sup = pool(1);
    let (task, gate) = gated(&sup);
    let mut stream = task.into_message_stream();
    tokio::select! {
        _ = stream.next() => unreachable!("the task runs"),
        () = tokio::time::sleep(Duration::from_millis(1)) => {}
    }
    gate.open();
    assert_eq!(stream.next().await, None);
    assert_eq!(stream.next().await, None);
    assert_eq!(stream.into_task().await, Ok(7));
}

#[test]
fn dropped_stream_drops_the_handle() {
    let sup = pool(1);
    let (gate, refused) = (Gate::new(), std::sync::mpsc::channel());
    let waits = gate.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext<(), u32>| {
        waits.wait();
        refused.0.send(ctx.send(1).is_err()).unwrap();
    });
    let task = task.supervisor(&sup).start().stop_on_drop();
    let found = task.to_ref();
    let mut stream = task.into_message_stream();
    assert!(block_on(poll_once(stream.next())).is_none());
    drop(stream);
    gate.open();
    // Canceled, or asked to stop; either way no message is accepted.
    if found.wait().is_ok() {
        assert!(refused.1.recv().unwrap());
    }
}

#[test]
fn stream_is_sent_and_moved() {
    fn check<T: Stream + Send + Unpin + std::fmt::Debug>(_: &T) {}
    let sup = pool(1);
    let stream: MessageStream<u32> = sup.spawn(|| 1).into_message_stream();
    check(&stream);
    assert!(format!("{stream:?}").starts_with("MessageStream"));
}
