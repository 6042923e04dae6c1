//! Do the streams yield what the iterators yield, without ever blocking the thread?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, PoolConfig, Priority, TaskBuilder, as_completed, bounded, bounded_by,
};
use atasker_tests::{FAR, Watchdog, mp, occupy, pool, pool_with};
use futures_lite::{Stream, StreamExt, future};

use crate::{doubles, gated};

/// A stream can be sent, moved while it is pinned, and shown.
fn checked<S: Stream + Unpin + Send + std::fmt::Debug>(stream: S) -> S {
    assert!(format!("{stream:?}").starts_with("TaskStream"));
    stream
}

#[tokio::test]
async fn as_completed_yields_in_completion_order() {
    let sup = pool(4);
    let (tasks, gates): (Vec<_>, Vec<_>) = (0..4).map(|_| gated(&sup)).unzip();
    let mut stream = checked(as_completed(tasks).into_stream());
    for (left, n) in [(4, 2), (3, 0), (2, 3), (1, 1)] {
        assert_eq!(stream.size_hint(), (left, Some(left)));
        assert!(future::poll_once(stream.next()).await.is_none());
        gates[n].open();
        assert_eq!(stream.next().await, Some((n, Ok(7))));
    }
    assert_eq!((stream.next().await, stream.next().await), (None, None));
}

#[tokio::test]
async fn references_are_streamed() {
    let sup = pool(2);
    let tasks: Vec<_> = (0..10).map(|n| sup.spawn(move || n)).collect();
    let sum = checked(as_completed(&tasks).into_stream()).map(|(_, n)| *n.unwrap());
    assert_eq!(sum.fold(0, |sum, n| sum + n).await, 45);
    assert_eq!(tasks[3].wait().unwrap(), &3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounded_stream_keeps_its_limit() {
    let sup = pool_with(PoolConfig::unlimited());
    let running = Arc::new(AtomicUsize::new(0));
    let builders = (0..200_usize).map(|n| {
        let (running, sup) = (Arc::clone(&running), sup.clone());
        TaskBuilder::future(async move {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            (n, now)
        })
        .supervisor(&sup)
    });
    let mut stream = checked(bounded(5, builders).into_stream());
    let mut seen = vec![0; 200];
    while let Some((i, result)) = stream.next().await {
        let (n, now) = result.unwrap();
        assert!(i == n && now <= 5, "{i} {n} {now}");
        seen[i] += 1;
    }
    assert!(seen.iter().all(|times| *times == 1));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn stream_is_lazy() {
    let sup = pool(2);
    let asked = AtomicUsize::new(0);
    let endless = (0_u64..).map(|n| {
        asked.fetch_add(1, Ordering::Relaxed);
        (n, TaskBuilder::new(move || n * n).supervisor(&sup))
    });
    let mut stream = bounded_by(3, endless).cancel_on_drop().into_stream();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    for taken in 0..10 {
        let (n, square) = stream.next().await.unwrap();
        assert_eq!(square, Ok(n * n));
        assert_eq!(asked.load(Ordering::Relaxed), taken + 3);
    }
}

#[test]
fn iterator_that_was_used_becomes_a_stream() {
    let sup = pool(2);
    let builders = (0..20).map(|n| (n, TaskBuilder::new(move || n).supervisor(&sup)));
    let mut these = bounded_by(4, builders);
    let taken = these.next().unwrap().0;
    let rest: Vec<_> = future::block_on(these.into_stream().map(|(n, _)| n).collect());
    let mut all: Vec<_> = rest.into_iter().chain([taken]).collect();
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

/// A stream of tasks that wait for room in a full queue. The one thread of the runtime goes on.
async fn streams_through_full_queue<S>(stream: S, count: usize, opens: impl FnOnce())
where
    S: Stream<Item = (usize, u32)> + Unpin,
{
    let _watchdog = Watchdog::new("streams_through_full_queue", 2 * FAR);
    let mut stream = stream;
    let mut ticks = 0;
    let mut opens = Some(opens);
    let mut seen = vec![false; count];
    let mut left = count;
    while left > 0 {
        tokio::select! {
            biased;
            next = stream.next() => {
                let (n, doubled) = next.unwrap();
                assert!(doubled == 2 * n as u32 && !std::mem::replace(&mut seen[n], true));
                left -= 1;
            }
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                ticks += 1;
                if ticks == 3 && let Some(opens) = opens.take() {
                    opens();
                }
            }
        }
    }
    assert!(stream.next().await.is_none());
    assert!(ticks >= 3, "the stream waited for room while the runtime went on");
}

#[tokio::test]
async fn full_thread_queue_is_waited_for() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(2, Overflow::Block));
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (most, inner) = (Arc::new(AtomicUsize::new(0)), sup.clone());
    let builders = (0..50_u32).map(|n| {
        let (inner, most) = (inner.clone(), Arc::clone(&most));
        TaskBuilder::new(move || {
            most.fetch_max(inner.info().thread_pool.waiting.total(), Ordering::SeqCst);
            2 * n
        })
        .supervisor(&sup)
    });
    let stream = bounded(10, builders).into_stream().map(|(n, r)| (n, r.unwrap()));
    streams_through_full_queue(stream, 50, || gate.open()).await;
    busy.join().unwrap();
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn full_mp_queue_is_waited_for() {
    let sup = mp::supervisor(MpPoolConfig::new(1).queue_limit(1, Overflow::Block));
    let (busy, _) = mp::occupy(&sup);
    let builders = (0..20_u32).map(|n| (n as usize, doubles::builder(n).supervisor(&sup)));
    let stream = bounded_by(6, builders).into_stream().map(|(n, r)| (n, r.unwrap()));
    streams_through_full_queue(stream, 20, || busy.stop()).await;
    busy.join().unwrap();
}

#[test]
fn stream_that_is_dropped_while_it_waits_launches_nothing() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(1, Overflow::Block));
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let builders = (0..5).map(|n| TaskBuilder::new(move || n).supervisor(&sup));
    let mut stream = bounded(5, builders).cancel_on_drop().into_stream();
    assert!(future::block_on(future::poll_once(stream.next())).is_none());
    // One waits in the queue, one waits for room, three were not asked for.
    assert_eq!((sup.info().tasks, stream.size_hint()), (2, (5, Some(5))));
    drop(stream);
    assert_eq!(sup.info().tasks, 1);
    gate.open();
    busy.join().unwrap();
    assert_eq!(sup.info().thread_pool.completed, 1);
}

#[test]
fn streams_run_on_aloops() {
    let sup = pool(2);
    let inner = sup.clone();
    let task = sup.spawn_async(async move {
        let builders = (0..30_u64).map(move |n| TaskBuilder::new(move || n).supervisor(&inner));
        let stream = bounded(4, builders).into_stream();
        stream.fold(0, |sum, (_, n)| sum + n.unwrap()).await
    });
    assert_eq!(task.join().unwrap(), 435);
}
