//! Does a call in the worker pool begin before every call of lower priority that has not begun,
//! regardless of the duration of earlier calls?
//!
//! The order is that of the start times of the tasks.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use atasker::{MpPoolConfig, Priority, Supervisor, Task, background_task, wait_completed};
use atasker_tests::mp::{pool_of, supervisor, until_stopped};
use atasker_tests::{FAR, Watchdog, eventually};

use Priority::{Critical, High, Low, Normal};

#[background_task(tt = "mp")]
fn nothing() {}

#[background_task(tt = "mp")]
fn takes(time: Duration) -> u32 {
    let begun = std::time::Instant::now();
    // A sleep of some microseconds takes much longer than requested.
    while begun.elapsed() < time {
        match time < Duration::from_millis(1) {
            true => std::hint::spin_loop(),
            false => std::thread::sleep(time.saturating_sub(begun.elapsed())),
        }
    }
    std::process::id()
}

#[background_task(tt = "mp")]
fn aborts_once_there_is(file: PathBuf) {
    while !file.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::abort();
}

/// Afterwards the pool classifies its calls as short and sends many ahead.
fn warm_up(sup: &Supervisor) {
    let all: Vec<_> = (0..500).map(|_| nothing::builder().supervisor(sup).start()).collect();
    wait_completed!(all).unwrap();
}

fn launch(sup: &Supervisor, priority: Priority, micros: u64) -> Task<u32> {
    let time = Duration::from_micros(micros);
    takes::builder(time).priority(priority).supervisor(sup).start()
}

/// The current time of the clock that start times use.
fn now(sup: &Supervisor) -> SystemTime {
    sup.spawn(|| ()).time_queued()
}

fn begun<R: Send + 'static>(task: &Task<R>) -> SystemTime {
    task.wait_timeout(FAR).unwrap();
    task.time_started().unwrap()
}

/// How many of `others` began after `launched` and before `urgent`.
fn overtaken_by(launched: SystemTime, urgent: &Task<u32>, others: &[Task<u32>]) -> usize {
    let between = launched..begun(urgent);
    others.iter().filter(|task| between.contains(&begun(task))).count()
}

/// Whether a call that was sent to its worker process can still be revoked.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    SharedMemory,
    Sockets,
}

impl Mode {
    fn both(run: impl Fn(Mode)) {
        let _watchdog = Watchdog::new("the order of calls", FAR * 2);
        // Other systems have no shared memory.
        if !cfg!(atasker_portable) {
            run(Mode::SharedMemory);
        }
        run(Mode::Sockets);
    }

    fn supervisor(self, config: MpPoolConfig) -> Supervisor {
        supervisor(config.__over_sockets(self == Mode::Sockets))
    }

    /// How many calls of lower priority may begin after the launch of an urgent one: those already
    /// sent.
    fn under_way(self, workers: usize) -> usize {
        if self == Mode::Sockets { workers } else { 0 }
    }
}

#[test]
fn urgent_call_overtakes_earlier_ones() {
    Mode::both(|mode| {
        for (reserve, micros) in [(1, 150), (0, 150), (1, 100), (0, 100), (0, 20), (1, 1_000)] {
            for urgent in [Normal, High, Critical] {
                let config = pool_of(1).reserve_high(reserve).critical_extra(0);
                let sup = mode.supervisor(config);
                warm_up(&sup);
                let low: Vec<_> = (0..150).map(|_| launch(&sup, Low, micros)).collect();
                let one = launch(&sup, urgent, 0);
                let launched = now(&sup);
                let overtaken = overtaken_by(launched, &one, &low);
                let most = mode.under_way(1);
                assert!(
                    overtaken <= most,
                    "{mode:?}, {reserve}, {micros} us, {urgent}: {overtaken}"
                );
            }
        }
    });
}

#[test]
fn urgent_call_overtakes_unbegun_long_call() {
    Mode::both(|mode| {
        let sup = mode.supervisor(pool_of(1));
        for round in 0..64 {
            warm_up(&sup);
            let low = [150, 5_000, 5_000].map(|micros| launch(&sup, Low, micros));
            let one = launch(&sup, [Normal, High][round % 2], 0);
            let launched = now(&sup);
            let overtaken = overtaken_by(launched, &one, &low);
            assert!(overtaken <= mode.under_way(1), "{mode:?}, round {round}: {overtaken}");
        }
    });
}

#[test]
fn each_priority_overtakes_lower_ones() {
    Mode::both(|mode| {
        for workers in [1, 2, 3] {
            let sup = mode.supervisor(pool_of(workers).critical_extra(0));
            warm_up(&sup);
            let mut launched = Vec::new();
            for n in 0..240u64 {
                let priority = [Low, Low, Normal, Low, High, Normal, Critical, Low][n as usize % 8];
                let task = launch(&sup, priority, [30, 600, 90, 0, 250][n as usize % 5]);
                launched.push((priority, task, now(&sup)));
            }
            for (priority, task, at) in &launched {
                let between = *at..begun(task);
                // A call that already has a worker process, which only has to wake up, is not
                // overtaken by calls that begin elsewhere meanwhile.
                let worker = *task.wait().unwrap();
                let overtaken = launched.iter().filter(|(other, lower, _)| {
                    other < priority
                        && between.contains(&begun(lower))
                        && *lower.wait().unwrap() == worker
                });
                // A more urgent call may take the worker process that the call waits for. The call then
                // gets another one, where other calls have begun in the meantime.
                let displaced = workers > 1
                    && launched.iter().any(|(other, urgent, _)| {
                        other > priority && between.contains(&begun(urgent))
                    });
                if displaced {
                    continue;
                }
                let most = usize::from(workers > 1) + mode.under_way(1);
                let overtaken = overtaken.count();
                assert!(overtaken <= most, "{mode:?}, {workers}, {priority}: {overtaken}");
            }
        }
    });
}

#[test]
fn equal_priority_keeps_launch_order() {
    Mode::both(|mode| {
        let sup = mode.supervisor(pool_of(1));
        warm_up(&sup);
        let mut all = Vec::new();
        let mut urgent = Vec::new();
        for n in 0..300u64 {
            all.push(launch(&sup, Low, [10, 200, 1_500][n as usize % 3]));
            if n % 50 == 49 {
                // Revoked calls return to their former position.
                urgent.push(launch(&sup, High, 10));
            }
        }
        wait_completed!(&urgent).unwrap();
        assert!(all.iter().map(begun).is_sorted());
        assert!(urgent.iter().map(begun).is_sorted());
    });
}

#[test]
fn idle_worker_takes_calls_behind_long_call() {
    Mode::both(|mode| {
        let sup = mode.supervisor(pool_of(2));
        warm_up(&sup);
        // Both worker processes exist.
        let both = [0; 2].map(|_| launch(&sup, Normal, 20_000));
        wait_completed!(both).unwrap();
        warm_up(&sup);
        let long = until_stopped::builder().supervisor(&sup).start();
        let short: Vec<_> = (0..200).map(|_| launch(&sup, Normal, 5)).collect();
        wait_completed!(short).unwrap();
        assert!(!long.is_completed());
        long.stop();
        long.join().unwrap();
    });
}

#[test]
fn free_slot_is_used_for_short_calls() {
    Mode::both(|mode| {
        let sup = mode.supervisor(pool_of(1).reserve_high(1));
        warm_up(&sup);
        let long = until_stopped::builder().supervisor(&sup).start();
        long.recv().unwrap();
        // The reserved slot has no worker process yet.
        launch(&sup, High, 0).join().unwrap();
        assert!(!long.is_completed());
        assert_eq!(sup.info().mp_pool.unwrap().workers.len(), 2);
        long.stop();
        long.join().unwrap();
    });
}

#[test]
fn due_call_overtakes_lower_priority() {
    Mode::both(|mode| {
        let sup = mode.supervisor(pool_of(1));
        warm_up(&sup);
        let delay = Duration::from_millis(20);
        let one = nothing::builder().priority(High).delay(delay).supervisor(&sup).start();
        let low: Vec<_> = (0..400).map(|_| launch(&sup, Low, 300)).collect();
        // The other calls take 120 ms, and the delay ends after 20 ms.
        let at = begun(&one);
        let after = low.iter().filter(|task| begun(task) > at).count();
        assert!(after > 0, "{mode:?}: the delayed call began last");
    });
}

#[test]
fn calls_of_dead_worker_keep_order() {
    Mode::both(|mode| {
        let gate = std::env::temp_dir().join(format!("atasker-order-{}", std::process::id()));
        let _ = std::fs::remove_file(&gate);
        let sup = mode.supervisor(pool_of(1));
        warm_up(&sup);
        let victim = aborts_once_there_is::builder(gate.clone()).supervisor(&sup).start();
        let low: Vec<_> = (0..30).map(|_| launch(&sup, Low, 10)).collect();
        let normal: Vec<_> = (0..30).map(|_| launch(&sup, Normal, 10)).collect();
        let high: Vec<_> = (0..30).map(|_| launch(&sup, High, 10)).collect();
        std::fs::write(&gate, "").unwrap();
        assert!(victim.join().unwrap_err().is_worker_died());
        let all: Vec<_> = high.iter().chain(&normal).chain(&low).map(begun).collect();
        assert!(all.is_sorted(), "{mode:?}");
        std::fs::remove_file(gate).unwrap();
    });
}

#[test]
fn excess_critical_calls_occupy_pool_slots() {
    Mode::both(|mode| {
        let sup = mode.supervisor(pool_of(1).critical_extra(0));
        let occupy = |priority| {
            let task = until_stopped::builder().priority(priority).supervisor(&sup).start();
            task.recv().unwrap();
            task
        };
        let critical = occupy(Critical);
        let low = launch(&sup, Low, 0);
        let high = launch(&sup, High, 0);
        let pool = sup.info().mp_pool.unwrap();
        assert_eq!((pool.running, pool.waiting.low, pool.waiting.high), (1, 1, 1));
        critical.stop();
        critical.wait_timeout(FAR).unwrap();
        // Both waited while the critical call ran, and the high one is first. The time at which a call
        // ends is that of its publication, when the next one may have begun.
        assert!(begun(&high) <= begun(&low));
        assert_eq!(sup.info().mp_pool.unwrap().workers.len(), 1);

        // One beyond the pool, and one within it.
        sup.set_mp_pool(pool_of(1).critical_extra(1).__over_sockets(mode == Mode::Sockets));
        let critical = [occupy(Critical), occupy(Critical)];
        let low = launch(&sup, Low, 0);
        assert_eq!(sup.info().mp_pool.unwrap().waiting.low, 1);
        critical[0].stop();
        begun(&low);
        assert!(!critical[1].is_completed());
        critical[1].stop();
        eventually(|| critical.iter().all(Task::is_completed));
    });
}
