//! Can a `tracing` subscriber launch tasks and query the supervisor in every event?

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    MpPoolConfig, Supervisor, Task, TaskBuilder, TaskError, background_task, supervisor,
};
use atasker_tests::events::{is_of_library, subscriber};
use tracing::Event;

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task(tt = "mp")]
fn dies() {
    std::process::abort();
}

static REPORTS: AtomicU32 = AtomicU32::new(0);

/// Launches tasks and queries the supervisor.
fn on_event(_: &Event<'_>) {
    thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
    if INSIDE.replace(true) {
        return;
    }
    // Not recursively without limit: the launched tasks may cause events too.
    if REPORTS.fetch_add(1, Ordering::Relaxed) < 50 {
        let sup = supervisor();
        drop(sup.spawn(|| ()));
        drop(double(1));
        drop(TaskBuilder::new(|| ()).delay(Duration::from_millis(1)).start());
        assert!(sup.info().mp_pool.is_some());
    }
    INSIDE.set(false);
}

fn no_start() {
    panic!("worker_init fails");
}

fn end<R: Send + 'static>(task: Task<R>) -> Result<R, TaskError> {
    if task.wait_timeout(Duration::from_secs(30)).is_err() {
        assert!(task.is_completed(), "not in 30 s: {:?}", task.id());
    }
    task.join()
}

#[test]
fn subscriber_may_launch_tasks() {
    tracing::subscriber::set_global_default(subscriber(is_of_library, on_event)).unwrap();
    let sup = supervisor();
    sup.set_mp_pool(MpPoolConfig::new(1).worker_init(no_start));
    // An event of the thread that tried to start a worker process.
    assert!(matches!(end(double(1)), Err(TaskError::NotStarted { .. })));
    assert!(REPORTS.load(Ordering::Relaxed) > 0);
    sup.set_mp_pool(MpPoolConfig::new(1));
    assert_eq!(end(double(2)).unwrap(), 4);
    // Events of a reader thread, of a pool thread and of the timer.
    drop(dies());
    drop(sup.spawn(|| panic!("unobserved panic")));
    let long = TaskBuilder::new(|| std::thread::sleep(Duration::from_millis(50)));
    assert!(end(long.timeout(Duration::from_millis(5)).start()).unwrap_err().is_timeout());
    assert_eq!(end(double(3)).unwrap(), 6);
    let other = Supervisor::builder().build();
    assert_eq!(other.spawn(|| 1).join().unwrap(), 1);
}
