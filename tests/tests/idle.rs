//! Does an idle supervisor use any CPU? Alone in its process, for that is what is measured.

use std::time::Duration;

use atasker::{PoolConfig, Supervisor, TaskBuilder, TaskContext};
use atasker_tests::eventually;

/// The CPU time that this process has used.
fn used() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to a `rusage`, which a call that returns 0 has filled.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

#[test]
fn with_idle_threads_loops_delays_limits_and_tasks_that_wait() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(8).min_size(8)).build();
    sup.start();
    sup.on_queued_for(Duration::from_secs(600), |_| ());
    sup.create_aloop_multi("many", 2);
    let long = Duration::from_secs(3600);
    let delayed = TaskBuilder::new(|| ()).delay(long).supervisor(&sup).start();
    let waits = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
        .timeout(long)
        .supervisor(&sup)
        .start();
    let future = sup.spawn_async(std::future::pending::<()>());
    (0..100).map(|_| sup.spawn(|| ())).for_each(|task| task.join().unwrap());
    eventually(|| sup.info().thread_pool.running == 0 && sup.info().thread_pool.blocked == 1);
    let before = used();
    std::thread::sleep(Duration::from_secs(1));
    let busy = used() - before;
    // A single thread that polled each millisecond would use more.
    assert!(busy < Duration::from_millis(20), "{busy:?} in a second");
    assert!(delayed.cancel());
    waits.stop();
    assert!(waits.join().unwrap());
    future.kill().unwrap();
}
