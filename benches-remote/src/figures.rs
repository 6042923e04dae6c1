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
