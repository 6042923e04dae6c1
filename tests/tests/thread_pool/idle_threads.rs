//! Do idle threads end when the configuration of the pool changes?

use std::time::{Duration, Instant};

use atasker::{PoolConfig, Supervisor};

#[test]
fn lowered_min_size_ends_idle_threads() {
    let config = PoolConfig::new(4).idle_timeout(Duration::from_millis(20));
    let sup = Supervisor::builder().thread_pool(config.clone().min_size(3)).build();
    sup.start();
    assert_eq!(sup.info().thread_pool.threads, 3);
    // Past the idle timeout, each thread has decided to stay as one of three.
    std::thread::sleep(Duration::from_millis(100));
    sup.set_thread_pool(config.min_size(1));
    let deadline = Instant::now() + Duration::from_secs(20);
    while sup.info().thread_pool.threads > 1 {
        assert!(Instant::now() < deadline, "{:?}", sup.info().thread_pool);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
}

/// Each step ends when it launches the next one, so the thread that is woken for the launch usually
/// finds no task.
fn step(sup: Supervisor, left: u32, done: std::sync::mpsc::Sender<()>) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_micros(60) {
        std::hint::spin_loop();
    }
    if left == 0 {
        return done.send(()).unwrap();
    }
    let ours = sup.clone();
    drop(sup.spawn(move || step(ours, left - 1, done)));
}

#[test]
fn repeated_spurious_wakes_do_not_grow_stack() {
    let config = PoolConfig::new(4).stack_size(64 << 10);
    let sup = Supervisor::builder().thread_pool(config).build();
    let (done, end) = std::sync::mpsc::channel();
    let ours = sup.clone();
    drop(sup.spawn(move || step(ours, 30_000, done)));
    end.recv_timeout(Duration::from_secs(60)).unwrap();
}
