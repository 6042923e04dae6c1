//! What a process that measures tells the one that has started it.

use std::time::Duration;

/// Prints the figures of one repetition.
pub fn tell(figures: &[f64]) {
    println!("figures {}", serde_json::to_string(figures).expect("numbers"));
}

/// Times, in microseconds.
pub struct Latencies(Vec<f64>);

impl Latencies {
    pub fn new() -> Latencies {
        Latencies(Vec::new())
    }

    pub fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e6);
    }

    /// Returns the time that this share of all times does not exceed.
    pub fn share(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let at = (share * self.0.len() as f64).ceil() as usize;
        self.0[at.clamp(1, self.0.len()) - 1]
    }
}

/// Returns the time of a clock that all processes of the machine share, in nanoseconds.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes through a pointer to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Returns the CPU time of this process, in seconds.
pub fn cpu_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes through a pointer to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
