//! Does a `tracing` subscriber that panics end a thread of the library or lose a task? This test
//! has its own program because it sets the global subscriber.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atasker::{PoolConfig, Supervisor, Task, TaskBuilder, TaskError};
use atasker_tests::events::subscriber;
use atasker_tests::mp::{pid, pool_of};
use atasker_tests::{FAR, Watchdog, eventually};
use tracing::{Event, Level};

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn on_event(event: &Event<'_>) {
    PANICS.fetch_add(1, Ordering::SeqCst);
    panic!("a subscriber panics at {}", event.metadata().name());
}

/// Runs `f` and asserts that the subscriber has panicked meanwhile.
#[track_caller]
fn with_panics(f: impl FnOnce()) {
    let before = PANICS.load(Ordering::SeqCst);
    f();
    eventually(|| PANICS.load(Ordering::SeqCst) > before);
}

fn fails() {
    std::process::exit(7);
}

/// Lowers a limit of this process; returns the previous one.
fn cap(what: libc::__rlimit_resource_t, most: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(what, &mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, most.min(limit.rlim_max));
        assert_eq!(libc::setrlimit(what, &limit), 0);
        before
    }
}

#[test]
fn panicking_subscriber_stops_nothing() {
    let watchdog = Watchdog::new("a panicking subscriber", 10 * FAR);
    tracing::subscriber::set_global_default(subscriber(
        |metadata| *metadata.level() <= Level::WARN,
        on_event,
    ))
    .unwrap();
    let threads = PoolConfig::new(1).idle_timeout(Duration::from_millis(1));
    // More threads than are available later, and more than the C library caches.
    let threads = threads.stack_size(2 << 30);
    // The worker process stays for the whole test, because it is used below.
    let workers = pool_of(1).idle_timeout(20 * FAR);
    let sup = Supervisor::builder().mp_pool(workers).thread_pool(threads).build();
    watchdog.watch(&sup);
    let launch = || pid::builder().supervisor(&sup).start();
    let there = launch().join().unwrap();

    // No worker process can be started: reported by the spawner thread, which must survive as long
    // as any worker process.
    let bad = Supervisor::builder().mp_pool(pool_of(1)).build();
    with_panics(|| {
        let before = cap(libc::RLIMIT_NOFILE, 3);
        let error = pid::builder().supervisor(&bad).start().join().unwrap_err();
        cap(libc::RLIMIT_NOFILE, before);
        assert!(matches!(error, TaskError::NotStarted { .. }), "{error}");
    });
    assert_eq!(launch().join().unwrap(), there);
    assert_ne!(pid::builder().supervisor(&bad).start().join().unwrap(), there);

    // Worker processes start and fail before they are ready: reported by their reader threads.
    for _ in 0..2 {
        let bad = Supervisor::builder().mp_pool(pool_of(2).worker_init(fails)).build();
        with_panics(|| {
            let tasks: Vec<Task<u32>> =
                (0..3).map(|_| pid::builder().supervisor(&bad).start()).collect();
            for task in tasks {
                let error = task.join().unwrap_err();
                assert!(matches!(error, TaskError::NotStarted { .. }), "{error}");
            }
        });
    }
    assert_eq!(launch().join().unwrap(), there);

    // A worker process that dies without a task.
    with_panics(|| {
        // SAFETY: sends a signal to an unreaped child.
        unsafe { libc::kill(there.cast_signed(), libc::SIGKILL) };
    });
    assert_ne!(launch().join().unwrap(), there);

    // The timer reports an exceeded time limit.
    for _ in 0..2 {
        with_panics(|| {
            let (sender, gate) = std::sync::mpsc::channel::<()>();
            let task = TaskBuilder::new(move || gate.recv().is_ok())
                .timeout(Duration::from_millis(1))
                .supervisor(&sup)
                .start();
            assert!(matches!(task.wait(), Err(TaskError::TimedOut { .. })));
            drop(sender);
        });
    }

    // No thread can be started: the timer makes the next try.
    eventually(|| sup.info().thread_pool.threads == 0);
    // The C library releases the last thread's stack when a later thread ends.
    eventually(|| {
        std::thread::spawn(|| ()).join().unwrap();
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        pages * 4096 < 1 << 30
    });
    let before = cap(libc::RLIMIT_AS, 2 << 30);
    let mut waits = None;
    with_panics(|| waits = Some(sup.spawn(|| 7)));
    cap(libc::RLIMIT_AS, before);
    assert_eq!(waits.unwrap().join().unwrap(), 7);
    assert_eq!(sup.spawn(|| 8).join().unwrap(), 8);
}
