//! Latencies of single calls as a curve: the share of the calls that complete within a time.

use crate::measure::{Better, Metric, percentile};

macro_rules! shares {
    ($($name:literal: $share:literal),* $(,)?) => {
        /// One figure per share.
        pub const METRICS: &[Metric] =
            &[$(Metric { name: $name, unit: "us", better: Better::Less }),*];
        /// The share of all calls.
        pub const SHARES: &[f64] = &[$($share),*];
    };
}

shares! {
    "least": 0.0, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95,
    "p97.5": 0.975, "p99": 0.99, "p99.5": 0.995, "p99.75": 0.9975, "p99.9": 0.999,
    "p99.95": 0.9995, "p99.99": 0.9999,
}

/// The figures from the times of the calls.
pub fn figures(mut calls: Vec<f64>) -> Vec<f64> {
    SHARES.iter().map(|share| percentile(&mut calls, *share)).collect()
}
