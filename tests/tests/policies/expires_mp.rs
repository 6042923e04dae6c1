//! Does a task for a worker process expire wherever it waits: in the queue, for room in a full
//! queue, and sent to a worker process that is busy?

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{MpPoolConfig, Overflow, Task, TaskError, TaskStatus, background_task};
use atasker_tests::mp::{occupy, supervisor};
use atasker_tests::{FAR, Watchdog};

const SOON: Duration = Duration::from_millis(50);

static RUNS: AtomicU32 = AtomicU32::new(0);

#[background_task(tt = "mp", expires = "50ms")]
fn counted() -> u32 {
    RUNS.fetch_add(1, Ordering::SeqCst)
}

/// Returns how often `counted` has run in this worker process.
#[background_task(tt = "mp")]
fn runs() -> u32 {
    RUNS.load(Ordering::SeqCst)
}

#[track_caller]
fn detail_of<R: Send + 'static>(task: &Task<R>) -> String {
    match task.wait() {
        Err(TaskError::Expired { after, detail }) => {
            assert_eq!(after, SOON);
            detail
        }
        other => panic!("did not expire: {:?}", other.err()),
    }
}

#[test]
fn tasks_expire_before_a_busy_worker_process_begins_them() {
    let sup = supervisor(MpPoolConfig::new(1));
    let (busy, _) = occupy(&sup);
    // The first ones are sent to the worker process ahead of their turn.
    let tasks: Vec<_> = (0..50).map(|_| counted::builder().supervisor(&sup).start()).collect();
    for task in &tasks {
        let detail = detail_of(task);
        assert!(detail.contains("worker process"), "{detail}");
        assert_eq!(task.status(), TaskStatus::Completed);
    }
    busy.stop();
    busy.join().unwrap();
    assert_eq!(runs::builder().supervisor(&sup).start().join().unwrap(), 0);
}

#[test]
fn blocked_launch_ends_when_its_task_expires() {
    let _watchdog = Watchdog::new("a blocked launch of a task that expires", FAR);
    let config = MpPoolConfig::new(1).queue_limit(1, Overflow::Block);
    let sup = supervisor(config);
    let (busy, _) = occupy(&sup);
    let queued = runs::builder().supervisor(&sup).start();
    let task = counted::builder().supervisor(&sup).start();
    assert_eq!(detail_of(&task), "room in the queue of the worker processes");
    busy.stop();
    assert_eq!(queued.join().unwrap(), 0);
    busy.join().unwrap();
}

#[test]
fn task_that_has_begun_does_not_expire() {
    let sup = supervisor(MpPoolConfig::new(1));
    let begun = atasker_tests::mp::until_stopped::builder().expires(2 * FAR);
    let begun = begun.supervisor(&sup).start();
    begun.recv().unwrap();
    detail_of(&counted::builder().supervisor(&sup).start());
    begun.stop();
    begun.join().unwrap();
}
