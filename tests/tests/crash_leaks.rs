//! Do thousands of crashes of worker processes leak anything: processes, descriptors, mappings,
//! threads or memory? This test has its own program because it counts the resources of the whole
//! process.

use std::time::Instant;

use atasker::{StopOptions, Supervisor, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::processes::{children, descriptors, mappings, resident, thread_names};
use atasker_tests::{FAR, Watchdog, eventually};

#[background_task(tt = "mp")]
fn crash(how: usize) {
    match how % 4 {
        0 => std::process::abort(),
        1 => std::process::exit(3),
        // SAFETY: sends a signal to this process.
        2 => unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        },
        // SAFETY: none; this process is supposed to crash here.
        _ => unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) },
    }
}

#[background_task(tt = "mp")]
fn double(n: usize) -> usize {
    2 * n
}

/// Larger than the shared page, so that the argument is in transit when the worker process dies.
#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

/// Lets that many worker processes crash, with other tasks in between.
fn crash_often(sup: &Supervisor, times: usize) {
    const BATCH: usize = 50;
    let bulk = vec![1; 20_000];
    let mut done = 0;
    while done < times {
        let crashes: Vec<_> = (0..BATCH.min(times - done))
            .map(|n| (crash::builder(n).supervisor(sup).start(), n))
            .collect();
        let fine: Vec<_> =
            (0..5).map(|n| (double::builder(n).supervisor(sup).start(), 2 * n)).collect();
        let large = length::builder(&bulk).supervisor(sup).start();
        done += crashes.len();
        for (task, n) in crashes {
            assert!(task.join().unwrap_err().is_worker_died(), "{n}");
        }
        for (task, expected) in fine {
            assert_eq!(task.join().unwrap(), expected);
        }
        assert_eq!(large.join().unwrap(), bulk.len());
    }
}

#[derive(Debug)]
struct Traces {
    threads: usize,
    descriptors: usize,
    mappings: usize,
    resident: u64,
}

/// Whether a thread of this name belongs to a worker process, or to a template.
fn is_of_process(name: &str) -> bool {
    name.starts_with("atasker reader") || name.starts_with("atasker temp")
}

/// The resources in use while no worker process exists.
fn traces(sup: &Supervisor) -> Traces {
    sup.stop(StopOptions::new());
    // The threads of reaped processes are about to end.
    eventually(|| !thread_names().iter().any(|name| is_of_process(name)));
    let left: Vec<_> = children().into_iter().map(|child| (child.pid, child.state)).collect();
    assert_eq!(left, []);
    let shared = mappings().iter().filter(|line| line.contains("memfd:")).count();
    assert_eq!(shared, 0);
    let traces = Traces {
        threads: thread_names().len(),
        descriptors: descriptors(),
        mappings: mappings().len(),
        resident: resident(),
    };
    assert!(sup.start());
    traces
}

#[test]
fn thousands_of_crashes_leak_nothing() {
    const TIMES: usize = 10_000;
    let _watchdog = Watchdog::new("thousands_of_crashes_leak_nothing", 10 * FAR);
    let config = pool_of(4).env("RUST_BACKTRACE", "0");
    let sup = Supervisor::builder().id("crashes").mp_pool(config).build();
    // The first crashes warm up buffers, the timer and the allocator's arenas.
    crash_often(&sup, 400);
    let before = traces(&sup);
    let started = Instant::now();
    crash_often(&sup, TIMES);
    let passed = started.elapsed();
    let after = traces(&sup);
    println!("{TIMES} crashes in {passed:?}\n{before:?}\n{after:?}");
    assert!(sup.info().mp_pool.unwrap().restarts >= TIMES as u64);
    assert_eq!(after.threads, before.threads);
    assert_eq!(after.descriptors, before.descriptors);
    // The C library caches some stacks and arenas of ended threads.
    assert!(after.mappings <= before.mappings + 20, "{before:?} {after:?}");
    assert!(after.resident <= before.resident + (3 << 20), "{before:?} {after:?}");
}
