//! A tracing subscriber may launch tasks and look at the supervisor, whatever it is told.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    MpPoolConfig, Supervisor, Task, TaskBuilder, TaskError, background_task, supervisor,
};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task(tt = "mp")]
fn dies() {
    std::process::abort();
}

static TOLD: AtomicU32 = AtomicU32::new(0);

struct Launches;

impl Subscriber for Launches {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "atasker"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
        if INSIDE.replace(true) {
            return;
        }
        // Not for ever: what it launches may be told of, too.
        if TOLD.fetch_add(1, Ordering::Relaxed) < 50 {
            let sup = supervisor();
            drop(sup.spawn(|| ()));
            drop(double(1));
            drop(TaskBuilder::new(|| ()).delay(Duration::from_millis(1)).start());
            assert!(sup.info().mp_pool.is_some());
        }
        INSIDE.set(false);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn no_start() {
    panic!("no start today");
}

fn end<R: Send + 'static>(task: Task<R>) -> Result<R, TaskError> {
    if task.wait_timeout(Duration::from_secs(30)).is_err() {
        assert!(task.is_completed(), "not in 30 s: {:?}", task.id());
    }
    task.join()
}

#[test]
fn it_may_launch_tasks() {
    tracing::subscriber::set_global_default(Launches).unwrap();
    let sup = supervisor();
    sup.set_mp_pool(MpPoolConfig::new(1).worker_init(no_start));
    // Told of by the thread that has tried to start a worker process.
    assert!(matches!(end(double(1)), Err(TaskError::NotStarted { .. })));
    assert!(TOLD.load(Ordering::Relaxed) > 0);
    sup.set_mp_pool(MpPoolConfig::new(1));
    assert_eq!(end(double(2)).unwrap(), 4);
    // By the link of a worker process, by a pool thread, by the timer.
    drop(dies());
    drop(sup.spawn(|| panic!("nobody looks")));
    let long = TaskBuilder::new(|| std::thread::sleep(Duration::from_millis(50)));
    assert!(end(long.timeout(Duration::from_millis(5)).start()).unwrap_err().is_timeout());
    assert_eq!(end(double(3)).unwrap(), 6);
    let other = Supervisor::builder().build();
    assert_eq!(other.spawn(|| 1).join().unwrap(), 1);
}
