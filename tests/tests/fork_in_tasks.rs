//! A task forks, on a pool thread or in a worker process: does the copy reach a worker process or
//! the parent's side of it?

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use atasker::{PoolConfig, Supervisor, Task, TaskContext, background_task, worker_data};
use atasker_tests::events::Seen;
use atasker_tests::forks::{fork, wait_for};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Watchdog, checks};
use tracing::Event;
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

static OF_COPIES: AtomicU32 = AtomicU32::new(0);
static OF_WORKERS: AtomicU32 = AtomicU32::new(0);
static OPEN: AtomicU32 = AtomicU32::new(0);

/// Counts the events of copies and of worker processes.
fn on_event(event: &Event<'_>) {
    match &*Seen::of(event).message {
        "of a copy" => OF_COPIES.fetch_add(1, Ordering::SeqCst),
        "of a worker" => OF_WORKERS.fetch_add(1, Ordering::SeqCst),
        _ => 0,
    };
}

/// Counts the spans of copies and of worker processes.
struct Spans;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        on_event(event);
    }
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        match span.metadata().name() {
            "a span of a copy" => OF_COPIES.fetch_add(1, Ordering::SeqCst),
            "a span of a worker" => OPEN.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }
    fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {
        OF_COPIES.fetch_add(1, Ordering::SeqCst);
    }
    fn on_close(&self, span: Id, context: Context<'_, S>) {
        if context.metadata(&span).is_some_and(|span| span.name() == "a span of a worker") {
            OPEN.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Forks. The copy uses everything that reaches the parent from a worker process.
#[background_task(tt = "mp")]
fn forks(ctx: &TaskContext<u32, u32>) -> i32 {
    let span = tracing::info_span!("a span of a worker", value = tracing::field::Empty);
    let _entered = span.enter();
    let code = fork(false, || {
        for n in 0..2000 {
            tracing::info_span!("a span of a copy").in_scope(|| tracing::info!("of a copy"));
            span.record("value", 1);
            drop(tracing::Span::current());
            drop(span.clone());
            tracing::info!("of a copy");
            ctx.progress(1000 + n, 0);
            ctx.message("of a copy");
        }
        checks![
            ctx.send(1000).is_err(),
            ctx.try_send(1000).is_err(),
            ctx.recv().is_err(),
            worker_data::<String>().is_none(),
        ]
    });
    tracing::info!("of a worker");
    ctx.progress(1, 2);
    ctx.send(1).unwrap();
    code
}

/// Sends as many messages as it is told to.
#[background_task(tt = "mp")]
fn sends(ctx: &TaskContext<u32, u32>) -> u32 {
    ctx.send(0).unwrap();
    let count = ctx.recv().unwrap();
    (0..count).map_while(|n| ctx.send(n).ok()).count() as u32
}

/// The task sends what it is told to, and all of it arrives.
fn assert_sends(task: Task<u32, u32, u32>) {
    task.send(200).unwrap();
    assert_eq!(task.messages().count(), 200);
    assert_eq!(task.join().unwrap(), 200);
}

#[test]
fn copy_of_worker_sends_nothing() {
    let _watchdog = Watchdog::new("forks in workers", FAR * 2);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Spans)).unwrap();
    for over_sockets in [false, true] {
        let config = pool_of(1).worker_data("text").__over_sockets(over_sockets);
        let sup = Supervisor::builder().mp_pool(config).build();
        for _ in 0..10 {
            let task = forks::builder().supervisor(&sup).start();
            assert_eq!(task.messages().collect::<Vec<_>>(), [1]);
            let progress = task.progress().unwrap();
            assert_eq!((progress.done, progress.message), (1, None));
            assert_eq!(task.join().unwrap(), 0);
            assert_eq!(OPEN.load(Ordering::SeqCst), 0);
            let task = sends::builder().supervisor(&sup).start();
            assert_eq!(task.recv(), Ok(0));
            assert_sends(task);
        }
    }
    assert_eq!(OF_COPIES.load(Ordering::SeqCst), 0);
    assert_eq!(OF_WORKERS.load(Ordering::SeqCst), 20);
}

#[test]
fn copy_of_pool_thread_does_not_reach_worker() {
    let _watchdog = Watchdog::new("forks on a pool thread", FAR * 2);
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).mp_pool(pool_of(1));
    let sup = sup.build();
    for _ in 0..10 {
        let inner = sup.clone();
        let task = sup.spawn(move || {
            let task = sends::builder().supervisor(&inner).start();
            assert_eq!(task.recv(), Ok(0));
            let mut task = Some(task);
            let code = fork(false, || {
                let task = task.take().unwrap();
                let reference = task.to_ref();
                reference.stop();
                drop(task.stop_on_drop());
                checks![reference.kill().is_err(), reference.info().progress.is_none()]
            });
            assert_eq!(code, 0);
            assert_sends(task.unwrap());
        });
        task.join().unwrap();
    }
}

static END_OF_COPY: AtomicI32 = AtomicI32::new(-1);

#[background_task(tt = "mp")]
fn end_of_copy() -> i32 {
    END_OF_COPY.load(Ordering::SeqCst)
}

/// The copy returns from `worker_init`, and must not serve as a second worker process.
#[test]
fn copy_returning_from_worker_init_exits() {
    let _watchdog = Watchdog::new("a fork in `worker_init`", FAR * 2);
    let config = pool_of(1).worker_init(|| {
        // SAFETY: the copy returns at once, which is what this test is about.
        let child = unsafe { libc::fork() };
        if child > 0 {
            END_OF_COPY.store(wait_for(child), Ordering::SeqCst);
        }
    });
    let sup = Supervisor::builder().mp_pool(config).build();
    assert_eq!(end_of_copy::builder().supervisor(&sup).start().join().unwrap(), 1);
}

/// The copy returns from a callback on a pool thread, and must not run the jobs behind it.
#[test]
fn copy_returning_from_callback_exits() {
    let _watchdog = Watchdog::new("a fork in a callback", FAR * 2);
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let (child, forked) = std::sync::mpsc::channel();
    let task = atasker::TaskBuilder::new(|| 1).on_complete(move |_| {
        // SAFETY: the copy returns at once, which is what this test is about.
        let pid = unsafe { libc::fork() };
        if pid > 0 {
            child.send(pid).unwrap();
        }
    });
    let task = task.supervisor(&sup).start();
    let behind: Vec<_> = (0..5).map(|n| sup.spawn(move || n)).collect();
    assert_eq!(task.join().unwrap(), 1);
    assert_eq!(wait_for(forked.recv().unwrap()), 1);
    for (n, task) in behind.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
}
