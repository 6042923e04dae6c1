//! Does a subscriber that panics at what the library tells end a thread of the library's, or leave a
//! task behind? Alone in its program, for it is the whole program's subscriber.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atasker::{
    MpPoolConfig, PoolConfig, Supervisor, Task, TaskBuilder, TaskError, background_task,
};
use atasker_tests::{FAR, Watchdog, eventually};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static PANICS: AtomicUsize = AtomicUsize::new(0);

struct Panics;

impl Subscriber for Panics {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        PANICS.fetch_add(1, Ordering::SeqCst);
        panic!("a subscriber panics at {}", event.metadata().name());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Does this, and says whether the subscriber has panicked meanwhile.
#[track_caller]
fn with_panics(f: impl FnOnce()) {
    let before = PANICS.load(Ordering::SeqCst);
    f();
    eventually(|| PANICS.load(Ordering::SeqCst) > before);
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

fn fails() {
    std::process::exit(7);
}

/// Caps something of this process; gives what it was.
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
fn nothing_stops_working() {
    let _watchdog = Watchdog::new("a subscriber that panics", 2 * FAR);
    tracing::subscriber::set_global_default(Panics).unwrap();
    let threads = PoolConfig::new(1).idle_timeout(Duration::from_millis(1));
    // More than may be had later, and more than the C library keeps.
    let threads = threads.stack_size(2 << 30);
    let sup = Supervisor::builder().mp_pool(MpPoolConfig::new(1)).thread_pool(threads).build();
    let launch = || pid::builder().supervisor(&sup).start();
    let there = launch().join().unwrap();

    // No worker process can be started: told of by the thread that starts them, and has to live
    // as long as any of them.
    let bad = Supervisor::builder().mp_pool(MpPoolConfig::new(1)).build();
    with_panics(|| {
        let before = cap(libc::RLIMIT_NOFILE, 3);
        let error = pid::builder().supervisor(&bad).start().join().unwrap_err();
        cap(libc::RLIMIT_NOFILE, before);
        assert!(matches!(error, TaskError::NotStarted { .. }), "{error}");
    });
    assert_eq!(launch().join().unwrap(), there);
    assert_ne!(pid::builder().supervisor(&bad).start().join().unwrap(), there);

    // They are started, and don't come to serve: told of by the threads that listen to them.
    for _ in 0..2 {
        let bad = Supervisor::builder().mp_pool(MpPoolConfig::new(2).worker_init(fails)).build();
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

    // A worker that dies without a task.
    with_panics(|| {
        // SAFETY: a signal to a child that is not buried: it runs.
        unsafe { libc::kill(there.cast_signed(), libc::SIGKILL) };
    });
    assert_ne!(launch().join().unwrap(), there);

    // A time limit that is overstayed is told of by the timer.
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

    // No thread to be had: the next try is the timer's.
    eventually(|| sup.info().thread_pool.threads == 0);
    // The C library gives the last one's stack back when a later thread ends.
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
