//! If the system cannot create threads, do a scope and a map in a task run on the thread that waits
//! for them? This test has its own program because the limit affects the whole process.

use std::sync::atomic::{AtomicU32, Ordering};

use atasker_tests::{FAR, Watchdog, pool};

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

#[test]
fn waiting_thread_runs_the_tasks_of_its_scope() {
    let _watchdog = Watchdog::new("a scope without threads", FAR);
    let sup = pool(1);
    let inner = sup.clone();
    let task = sup.spawn(move || {
        cap(Some(1 << 20));
        let (thread, runs) = (std::thread::current().id(), AtomicU32::new(0));
        let run = || {
            assert_eq!(std::thread::current().id(), thread, "no other thread can be started");
            runs.fetch_add(1, Ordering::Relaxed);
        };
        inner.scope(|s| {
            for _ in 0..3 {
                // Tasks of tasks, too.
                s.spawn(|| {
                    run();
                    s.spawn(run);
                });
            }
        });
        let results = atasker::__private::MapOptions::new()
            .supervisor(&inner)
            .threads(0..10, move |n| (n, std::thread::current().id() == thread));
        cap(None);
        assert!(results.into_iter().map(Result::unwrap).eq((0..10).map(|n| (n, true))));
        runs.into_inner()
    });
    assert_eq!(task.join().unwrap(), 6);
    assert_eq!(sup.spawn(|| 7).join().unwrap(), 7);
}
