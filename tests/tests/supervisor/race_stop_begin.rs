//! When the deadline of a stop expires while tasks begin, does every handle resolve?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use atasker::{PoolConfig, StopOptions, Supervisor};

#[test]
fn expired_deadline_resolves_every_handle() {
    let over = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicU32::new(0));
    for round in 0..5000u32 {
        let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
        sup.spawn(|| ()).join().unwrap();
        let (end, count) = (Arc::clone(&over), Arc::clone(&begun));
        // Runs until all handles have resolved: its own return does not resolve its handle.
        let task = sup.spawn(move || {
            count.fetch_add(1, Ordering::Relaxed);
            while !end.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        for _ in 0..round % 100 * 30 {
            std::hint::spin_loop();
        }
        let report = sup.stop(StopOptions::new().wait(Duration::ZERO));
        let resolved = task.wait_timeout(Duration::from_secs(20)).is_err() && task.is_completed();
        assert!(resolved, "round {round}: {report:?}, {:?}", task.info());
        assert_eq!(report.abandoned, 1);
        if round % 100 == 99 {
            over.store(true, Ordering::Relaxed);
            while Arc::strong_count(&begun) > 1 {
                std::thread::yield_now();
            }
            over.store(false, Ordering::Relaxed);
        }
    }
    // Some tasks had begun, some had not.
    let begun = begun.load(Ordering::Relaxed);
    println!("{begun} of 5000 had begun");
}
