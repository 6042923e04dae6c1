//! Does an idle supervisor use CPU time? This test has its own program because it measures the
//! whole process.

use std::time::Duration;

use atasker::{PoolConfig, Supervisor, TaskBuilder, TaskContext};
use atasker_tests::{eventually, processes::cpu_time};

#[test]
fn idle_supervisor_uses_no_cpu() {
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
    let before = cpu_time();
    std::thread::sleep(Duration::from_secs(1));
    let busy = cpu_time() - before;
    // A single thread that polls every millisecond would use more.
    assert!(busy < Duration::from_millis(20), "{busy:?} in a second");
    assert!(delayed.cancel());
    waits.stop();
    assert!(waits.join().unwrap());
    future.kill().unwrap();
}
