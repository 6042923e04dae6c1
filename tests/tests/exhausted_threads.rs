//! If the system cannot create threads, do the affected tasks fail instead of blocking, and does
//! everything work once threads are available again? This test has its own program because the
//! limit affects the whole process.

use std::time::Duration;

use atasker::{PoolConfig, Supervisor, Task, TaskBuilder, TaskError, background_task, supervisor};

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

/// Limits the address space so that no further stack fits; `None` removes the limit.
fn cap(more: Option<u64>) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    // SAFETY: a system call with a valid argument.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limit), 0);
        limit.rlim_cur = more.map_or(limit.rlim_max, |more| pages * 4096 + more);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
    }
}

fn end<R: Send + 'static>(task: Task<R>) -> Result<R, TaskError> {
    if task.wait_timeout(Duration::from_secs(30)).is_err() {
        assert!(task.is_completed(), "not in 30 s: {:?}", task.info());
    }
    task.join()
}

fn delayed(sup: &Supervisor) -> Task<u32> {
    TaskBuilder::new(|| 7).delay(Duration::from_millis(1)).supervisor(sup).start()
}

#[test]
fn thread_exhaustion_fails_tasks() {
    let sup = supervisor();
    // One task occupies all slots.
    let small = Supervisor::builder().id("small").thread_pool(PoolConfig::new(1)).build();
    cap(Some(1 << 20));
    for _ in 0..3 {
        let results = [
            end(delayed(sup)).map(drop),
            end(sup.spawn(|| ())),
            end(small.spawn(|| ())),
            end(double(1)).map(drop),
            end(sup.spawn_async(async {})),
        ];
        for (n, result) in results.into_iter().enumerate() {
            assert!(matches!(result, Err(TaskError::NotStarted { .. })), "{n}: {result:?}");
        }
    }
    cap(None);
    assert_eq!(end(delayed(sup)).unwrap(), 7);
    assert_eq!(end(sup.spawn(|| 8)).unwrap(), 8);
    assert_eq!(end(small.spawn(|| 8)).unwrap(), 8);
    assert_eq!(end(double(4)).unwrap(), 8);
    assert_eq!(end(sup.spawn_async(async { 9 })).unwrap(), 9);
}
