//! What happens to tasks when worker processes do not start, do not end, or die repeatedly, and
//! does the pool recover once the cause is gone?

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atasker::{
    MpPoolConfig, Priority, StopOptions, Supervisor, Task, TaskError, TaskStatus, WorkerStdio,
    background_task, worker_data,
};
use atasker_tests::mp::{occupy, pid, pool_of, run_pid, workers};
use atasker_tests::processes::{Process, signal};
use atasker_tests::{FAR, Watchdog, eventually};

fn with(config: MpPoolConfig) -> Supervisor {
    Supervisor::builder().id("ends").mp_pool(config.stdio(WorkerStdio::Null)).build()
}

/// A directory of this test, where its worker processes leave traces: `broken` states how the next
/// ones must fail, and each start appends a line to `starts`.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("atasker-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn break_starts(&self, how: &str) {
        std::fs::write(self.0.join("broken"), how).unwrap();
    }

    fn repair_starts(&self) {
        std::fs::remove_file(self.0.join("broken")).unwrap();
    }

    fn starts(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.0.join("starts")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Adds this directory as the worker data, and `init` as `worker_init`.
    fn config(&self, workers: usize) -> MpPoolConfig {
        // Without a template, because each start is counted, and `init` runs once per template.
        let config = MpPoolConfig::new(workers).env("RUST_BACKTRACE", "0");
        config.worker_data(&self.0).worker_init(init)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn init() {
    let place = worker_data::<PathBuf>().expect("the test gives a path");
    note_start(place);
    match std::fs::read_to_string(place.join("broken")).as_deref() {
        Ok("panic") => panic!("broken on purpose"),
        Ok("exit") => std::process::exit(7),
        Ok("abort") => std::process::abort(),
        Ok("hang") => loop {
            std::thread::park();
        },
        Ok("die later") => {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                std::process::exit(9);
            });
        }
        _ => {}
    }
}

fn note_start(place: &Path) {
    let file = std::fs::File::options().append(true).create(true).open(place.join("starts"));
    file.unwrap().write_all(format!("{}\n", std::process::id()).as_bytes()).unwrap();
}

#[test]
fn failed_starts_fail_tasks_with_cause_and_pool_recovers() {
    for (how, why) in
        [("panic", "broken on purpose"), ("exit", "exit code 7"), ("abort", "SIGABRT (6)")]
    {
        let _watchdog = Watchdog::new(format!("worker_init: {how}"), FAR);
        let place = Place::new("why");
        place.break_starts(how);
        let sup = with(place.config(3));
        let tasks: Vec<_> = (0..10).map(|_| pid::builder().supervisor(&sup).start()).collect();
        for task in tasks {
            let Err(TaskError::NotStarted { detail, .. }) = task.join() else { panic!("{how}") };
            assert!(detail.contains(why), "{detail}");
        }
        // A few tries; the first ones may have been made immediately.
        let tries = place.starts().len();
        assert!((5..=5 + 3).contains(&tries), "{tries}");
        // The next task triggers one more try.
        let error = pid::builder().supervisor(&sup).start().join().unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(place.starts().len() > tries);
        place.repair_starts();
        for _ in 0..10 {
            run_pid(&sup);
        }
    }
}

#[test]
fn failed_start_keeps_tasks_while_another_worker_serves() {
    let _watchdog = Watchdog::new("one serves, others do not start", FAR);
    let place = Place::new("one");
    let sup = with(place.config(2));
    let (busy, there) = occupy(&sup);
    place.break_starts("panic");
    let tasks: Vec<_> = (0..10).map(|_| pid::builder().supervisor(&sup).start()).collect();
    eventually(|| place.starts().len() > 6);
    assert!(tasks.iter().all(|task| task.status() == TaskStatus::Queued));
    busy.stop();
    busy.join().unwrap();
    for task in tasks {
        assert_eq!(task.join().unwrap(), there);
    }
}

#[test]
fn hanging_start_does_not_block_tasks() {
    let _watchdog = Watchdog::new("worker_init hangs", FAR);
    let place = Place::new("hangs");
    place.break_starts("hang");
    let sup = with(place.config(1));
    let (first, second) =
        (pid::builder().supervisor(&sup).start(), pid::builder().supervisor(&sup).start());
    eventually(|| !place.starts().is_empty());
    assert!(first.cancel());
    second.kill().unwrap();
    assert!(second.join().unwrap_err().is_canceled());
    let third = pid::builder().supervisor(&sup).start();
    let report = sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert_eq!(report.abandoned, 1);
    assert!(matches!(third.join(), Err(TaskError::SupervisorStopped)));
    for pid in place.starts() {
        assert!(Process::is_gone(pid));
    }
    place.repair_starts();
    sup.start();
    run_pid(&sup);
}

#[test]
fn dead_workers_are_replaced_up_to_min_size() {
    let _watchdog = Watchdog::new("min_size", FAR);
    let place = Place::new("min");
    let sup = with(place.config(4).min_size(3));
    sup.start();
    let mut before = HashSet::new();
    for _ in 0..5 {
        let fresh = || {
            let now = workers(&sup);
            let served = place.starts();
            now.len() == 3 && now.iter().all(|pid| !before.contains(pid) && served.contains(pid))
        };
        eventually(fresh);
        for pid in workers(&sup) {
            before.insert(pid);
            signal(pid, libc::SIGKILL);
        }
    }
    run_pid(&sup);
}

#[test]
fn eager_workers_dying_at_once_are_backed_off() {
    let _watchdog = Watchdog::new("early deaths", 2 * FAR);
    let place = Place::new("early");
    place.break_starts("die later");
    let sup = with(place.config(2).min_size(1));
    let begin = Instant::now();
    sup.start();
    // After 20 ms, 40 ms, .. each.
    eventually(|| place.starts().len() >= 8);
    assert!(begin.elapsed() > Duration::from_secs(1), "{:?}", begin.elapsed());
    place.repair_starts();
    // A task does not wait for that delay.
    run_pid(&sup);
    eventually(|| !workers(&sup).is_empty());
}

#[test]
fn repeated_kills_of_all_workers() {
    let _watchdog = Watchdog::new("kill all, go on", 2 * FAR);
    let sup = with(pool_of(3));
    for round in 0..40 {
        let tasks: Vec<_> = (0..30).map(|_| pid::builder().supervisor(&sup).start()).collect();
        for pid in workers(&sup) {
            // SAFETY: no preconditions. If the process has ended, no other is affected, because the
            // pool reaps it only after it notices the end.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
        let ends: Vec<_> = tasks.into_iter().map(Task::join).collect();
        let lost = ends.iter().filter(|end| end.is_err()).count();
        assert!(lost <= 3, "{round}: {lost} lost calls, at most 3 had begun");
        for end in ends {
            assert!(end.err().is_none_or(|error| error.is_worker_died()));
        }
    }
    run_pid(&sup);
    sup.stop(StopOptions::new());
    assert_eq!(sup.info().tasks, 0);
}

#[test]
fn max_tasks_per_worker_with_many_queued() {
    for (workers, most) in [(1, 1), (2, 1), (2, 3), (3, 7)] {
        let _watchdog = Watchdog::new(format!("{most} tasks each of {workers}"), FAR);
        let sup = with(pool_of(workers).max_tasks_per_worker(most));
        let tasks: Vec<_> = (0..40).map(|_| pid::builder().supervisor(&sup).start()).collect();
        let mut pids: Vec<u32> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
        pids.sort_unstable();
        for same in pids.chunk_by(|a, b| a == b) {
            assert!(same.len() as u64 <= most, "{same:?}");
        }
        assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
        // Some calls are pending when the supervisor stops.
        let tasks: Vec<_> = (0..20).map(|_| pid::builder().supervisor(&sup).start()).collect();
        let report = sup.stop(StopOptions::new());
        assert_eq!((report.abandoned, report.canceled), (0, 0));
        for task in tasks {
            task.join().unwrap();
        }
    }
}

#[test]
fn max_tasks_per_worker_with_failing_successor() {
    let _watchdog = Watchdog::new("the successor does not start", FAR);
    let place = Place::new("successor");
    let sup = with(place.config(1).max_tasks_per_worker(1));
    let (busy, there) = occupy(&sup);
    let tasks: Vec<_> = (0..5).map(|_| pid::builder().supervisor(&sup).start()).collect();
    place.break_starts("exit");
    busy.stop();
    assert_eq!(busy.join().unwrap(), there);
    for task in tasks {
        let error = task.join().unwrap_err();
        assert!(matches!(error, TaskError::NotStarted { .. }), "{error}");
        assert!(error.to_string().contains("exit code 7"), "{error}");
    }
    place.repair_starts();
    assert_ne!(run_pid(&sup), run_pid(&sup));
}

fn panics() {
    panic!("panic in worker_exit");
}

#[test]
fn panicking_worker_exit_is_isolated() {
    let _watchdog = Watchdog::new("worker_exit panics", FAR);
    let sup = with(pool_of(1).max_tasks_per_worker(1).worker_exit(panics));
    let pids: Vec<u32> = (0..5).map(|_| run_pid(&sup)).collect();
    assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 5);
    for pid in pids {
        eventually(|| Process::is_gone(pid));
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn zero_idle_timeout_ends_workers() {
    let _watchdog = Watchdog::new("idle_timeout of nothing", FAR);
    let sup = with(pool_of(2).idle_timeout(Duration::ZERO));
    for priority in [Priority::Low, Priority::Normal, Priority::High, Priority::Critical] {
        for _ in 0..10 {
            let task = pid::builder().priority(priority).supervisor(&sup).start();
            task.join().unwrap();
        }
    }
    eventually(|| workers(&sup).is_empty());
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[background_task(tt = "mp")]
fn variables() -> Vec<Option<String>> {
    ["ATASKER_TEST_A", "ATASKER_TEST_B", "PATH", "ATASKER_WORKER_OF"]
        .map(|name| std::env::var(name).ok())
        .to_vec()
}

#[test]
fn environment_is_inherited_and_extended() {
    let sup = with(pool_of(1).env("ATASKER_TEST_A", "x=y z").env("ATASKER_TEST_B", ""));
    let found = variables::builder().supervisor(&sup).start().join().unwrap();
    let path = std::env::var("PATH").ok();
    assert_eq!(found, [Some("x=y z".to_owned()), Some(String::new()), path, None]);
    // A variable of the program can be overridden; new variables apply to worker processes that
    // start from now on.
    sup.set_mp_pool(pool_of(1).env("PATH", "/nowhere").max_tasks_per_worker(1));
    variables::builder().supervisor(&sup).start().join().unwrap();
    let found = variables::builder().supervisor(&sup).start().join().unwrap();
    assert_eq!(found[2].as_deref(), Some("/nowhere"));
    // Variables that would prevent any start.
    let sup = with(pool_of(1).env("ATASKER_WORKER_OF", "1"));
    run_pid(&sup);
}
