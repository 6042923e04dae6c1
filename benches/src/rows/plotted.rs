//! The rows of the plots: the same work as in the table, at many sizes, or with each call timed.

use crate::measure::{Contender, Metric, Row, Shown};
use crate::rows::{latency, processes, threads};

/// The horizontal axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// The number of concurrent tasks.
    Tasks,
    /// Bytes of a payload.
    Bytes,
    /// The share of the calls that took at most this time.
    Share,
}

/// A plot, not yet measured.
pub struct Plot {
    /// For `--only`, and the prefix of the names of its rows.
    pub id: &'static str,
    /// The name of the file.
    pub file: &'static str,
    /// The title.
    pub title: &'static str,
    /// The vertical axis with its unit.
    pub up: &'static str,
    /// The horizontal axis.
    pub across: Across,
    /// One row per position on it; one row for all if it shows shares.
    pub rows: Vec<(f64, Row)>,
}

/// All plots.
pub fn all() -> Vec<Plot> {
    vec![
        Plot {
            id: "PLOT-T1",
            file: "threads-rate.svg",
            title: "Empty tasks on two threads: submitted, then all waited for",
            up: "million tasks per second",
            across: Across::Tasks,
            rows: at(
                "PLOT-T1",
                &[100, 1_000, 10_000, 100_000, 1_000_000],
                threads::RATE,
                |tasks| threads::bursts(tasks as u64),
            ),
        },
        Plot {
            id: "PLOT-P1",
            file: "calls-rate.svg",
            title: "add(u64, u64) in two worker processes: submitted, then all waited for",
            up: "thousand calls per second",
            across: Across::Tasks,
            rows: at(
                "PLOT-P1",
                &[100, 1_000, 10_000, 100_000, 1_000_000],
                processes::RATE,
                |calls| match calls as u64 {
                    calls if calls > 10_000 => processes::large_bursts(calls),
                    calls => processes::bursts(calls, calls),
                },
            ),
        },
        Plot {
            id: "PLOT-T2",
            file: "threads-latency.svg",
            title: "One task on a thread: from its submission to its result",
            up: "microseconds",
            across: Across::Share,
            rows: curve("PLOT-T2", threads::latencies),
        },
        Plot {
            id: "PLOT-P2",
            file: "calls-latency.svg",
            title: "One call in a worker process: from its submission to its result",
            up: "microseconds",
            across: Across::Share,
            rows: curve("PLOT-P2", processes::latencies),
        },
        Plot {
            id: "PLOT-P3",
            file: "echo.svg",
            title: "Bytes to a worker process and back, two calls under way",
            up: "MB per second, both ways",
            across: Across::Bytes,
            rows: at(
                "PLOT-P3",
                &[1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26],
                processes::BYTES,
                processes::echoes,
            ),
        },
    ]
}

fn at(
    id: &str,
    sizes: &[usize],
    metrics: &'static [Metric],
    contenders: fn(usize) -> Vec<Contender>,
) -> Vec<(f64, Row)> {
    let row = |size: usize| {
        let row = Row::new(format!("{id}-{size}"), format!("{id} at {size}"), metrics, move || {
            contenders(size)
        });
        (size as f64, row.shown(Shown::AsPlot))
    };
    sizes.iter().copied().map(row).collect()
}

fn curve(id: &str, contenders: fn() -> Vec<Contender>) -> Vec<(f64, Row)> {
    let title = format!("{id}, each call timed");
    vec![(0.0, Row::new(id, title, latency::METRICS, contenders).shown(Shown::AsPlot))]
}
