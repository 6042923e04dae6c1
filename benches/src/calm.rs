//! Waits until the last contender is idle: no thread that spins, no reply that is still being
//! processed, no busy worker process.

use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(3);
/// The CPU time of one interval that counts as idle: less than a busy thread uses, more than the
/// measurement itself.
const IDLE: f64 = 0.3;
const PATIENCE: Duration = Duration::from_millis(600);

/// Sleeps until this process and all its descendants are idle. Returns false if they never were.
pub fn calm() -> bool {
    let begin = Instant::now();
    loop {
        let (looked, before) = (Instant::now(), cpu_time());
        std::thread::sleep(LOOK);
        if cpu_time().saturating_sub(before).as_secs_f64() < IDLE * looked.elapsed().as_secs_f64() {
            return true;
        }
        if begin.elapsed() > PATIENCE {
            return false;
        }
    }
}

/// The CPU time that this process and its descendants have used.
pub fn cpu_time() -> Duration {
    let mut sum = Duration::ZERO;
    let mut processes = vec![std::process::id()];
    while let Some(pid) = processes.pop() {
        sum += cpu_time_of(pid);
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            processes.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    sum
}

fn cpu_time_of(pid: u32) -> Duration {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both write through pointers to locals.
    let known = unsafe {
        libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    match known {
        true => Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
        false => Duration::ZERO,
    }
}
