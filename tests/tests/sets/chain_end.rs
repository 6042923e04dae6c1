//! When the end of a task meets the chain, the cancel or the stop of a chained one, does each task
//! end exactly once?

use std::sync::Barrier;
use std::time::Duration;

use atasker::{PoolConfig, StopOptions, TaskStatus};
use atasker_tests::{FAR, Watchdog, eventually, pool_with};

const ROUNDS: usize = 2_000;

#[test]
fn race_chain_with_end() {
    let _watchdog = Watchdog::new("race_chain_with_end", 3 * FAR);
    let sup = pool_with(PoolConfig::new(2));
    for round in 0..ROUNDS {
        let first = match round % 3 {
            0 => sup.spawn_async(async move { round }),
            _ => sup.spawn(move || round),
        };
        for _ in 0..round % 50 {
            std::hint::spin_loop();
        }
        assert_eq!(first.chain(|n| n + 1).chain(|n| n + 1).join().unwrap(), round + 2);
    }
}

#[test]
fn race_cancel_with_end() {
    let _watchdog = Watchdog::new("race_cancel_with_end", 3 * FAR);
    let sup = pool_with(PoolConfig::new(2));
    for round in 0..ROUNDS {
        let first = sup.spawn(move || round);
        let chained = first.chain(|n| n + 1);
        let found = chained.to_ref();
        let barrier = Barrier::new(2);
        let (result, was_canceled) = std::thread::scope(|scope| {
            let cancel = scope.spawn(|| {
                barrier.wait();
                found.cancel()
            });
            barrier.wait();
            (chained.join(), cancel.join().unwrap())
        });
        match result {
            Ok(n) => assert!(n == round + 1 && !was_canceled),
            Err(error) => assert!(error.is_canceled() && was_canceled),
        }
    }
    eventually(|| sup.tasks().is_empty());
}

#[test]
fn race_stop_with_end() {
    let _watchdog = Watchdog::new("race_stop_with_end", 3 * FAR);
    for round in 0..ROUNDS / 20 {
        let sup = pool_with(PoolConfig::new(2));
        let tasks: Vec<_> = (0..20).map(|n| sup.spawn(move || n).chain(|n| n + 1)).collect();
        let options = match round % 3 {
            0 => StopOptions::new(),
            1 => StopOptions::new().cancel_tasks(true),
            _ => StopOptions::new().wait(Duration::ZERO),
        };
        let report = sup.stop(options);
        // Those that had ended before are not counted.
        assert!(report.completed + report.canceled + report.abandoned <= 40, "{report:?}");
        // The deadline does not wait for a thread that is ending its task at this moment.
        eventually(|| sup.tasks().is_empty());
        for (n, task) in tasks.into_iter().enumerate() {
            assert!(matches!(task.status(), TaskStatus::Completed | TaskStatus::Canceled));
            if let Ok(result) = task.join() {
                assert_eq!(result, n + 1);
            }
        }
    }
}
