//! The table, and the same as JSON.

use std::path::Path;

use serde::Serialize;

use crate::measure::{Better, Metric, Name, Row, Sample, median};
use crate::probe::Probe;

/// Everything that a run of the program says.
#[derive(Serialize)]
pub struct Report {
    /// What it was measured with.
    pub command: String,
    /// Repetitions of each figure.
    pub reps: usize,
    /// CPUs at hand.
    pub cpus: usize,
    /// The CPU's name, where the system tells it.
    pub cpu: String,
    /// Others at work on this machine, at the begin and at the end: the load average of one minute.
    pub load: [f64; 2],
    /// The rows, in order.
    pub rows: Vec<RowReport>,
}

/// A row that was measured.
#[derive(Serialize)]
pub struct RowReport {
    id: &'static str,
    title: &'static str,
    /// There-and-back between the CPUs, in microseconds, before each figure.
    probe: Vec<f64>,
    cells: Vec<Cell>,
}

/// One figure of one contender.
#[derive(Serialize)]
pub struct Cell {
    contender: &'static str,
    ours: bool,
    metric: &'static str,
    unit: &'static str,
    more_is_better: bool,
    median: f64,
    least: f64,
    most: f64,
    all: Vec<f64>,
    /// There-and-back between the CPUs before each of them, in microseconds.
    probes: Vec<Option<f64>>,
    /// Ours over this one: the median of the ratios of the rounds.
    ours_to_this: Option<f64>,
}

impl Cell {
    /// Sums the repetitions up: the figure `at` of each sample.
    pub fn new(
        metric: &Metric,
        who: Name,
        samples: &[Sample],
        at: usize,
        ratio: Option<f64>,
    ) -> Cell {
        let all: Vec<f64> = samples.iter().map(|sample| sample.figures[at]).collect();
        Cell {
            contender: who.name,
            ours: who.ours,
            metric: metric.name,
            unit: metric.unit,
            more_is_better: metric.better == Better::More,
            median: median(all.clone()),
            least: all.iter().copied().fold(f64::INFINITY, f64::min),
            most: all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            all,
            probes: samples.iter().map(|sample| sample.probe.map(|probe| probe.0)).collect(),
            ours_to_this: ratio,
        }
    }

    /// Whether ours is ahead of this one.
    fn behind_ours(&self) -> Option<bool> {
        self.ours_to_this.map(|ratio| (ratio > 1.0) == self.more_is_better)
    }
}

impl RowReport {
    /// Puts a row together.
    pub fn new(row: &Row, probes: Vec<Probe>, cells: Vec<Cell>) -> RowReport {
        let probe = probes.into_iter().map(|probe| probe.0).collect();
        RowReport { id: row.id, title: row.title, probe, cells }
    }

    fn probe_text(&self) -> String {
        if self.probe.is_empty() {
            return "not probed".to_owned();
        }
        let middle = Probe(median(self.probe.clone()));
        let alike = self.probe.iter().filter(|one| Probe(**one).word() == middle.word()).count();
        match 100 * alike / self.probe.len() {
            100 => format!("{} {:.2}", middle.word(), middle.0),
            share => format!("{} {:.2} ({share}%)", middle.word(), middle.0),
        }
    }

    /// The row as lines of a Markdown table.
    pub fn print(&self) {
        let mut metric = None;
        for cell in &self.cells {
            let first = metric != Some(cell.metric);
            metric = Some(cell.metric);
            let (id, title, probe) = match first {
                true => {
                    let of = if cell.metric.is_empty() { "" } else { ", " };
                    let title = format!("{}{of}{}, {}", self.title, cell.metric, cell.unit);
                    (self.id, title, self.probe_text())
                }
                false => ("", String::new(), String::new()),
            };
            let range = format!("{} - {}", figure(cell.least), figure(cell.most));
            let ratio = cell.ours_to_this.map(|r| format!("{}x", figure(r))).unwrap_or_default();
            let ahead = match cell.behind_ours() {
                Some(true) => "ahead",
                Some(false) => "behind",
                None => "",
            };
            println!(
                "| {id:<8} | {title:<72} | {probe:<15} | {:<36} | {:>8} | {range:>17} | {ratio:>7} | {ahead:<6} |",
                cell.contender,
                figure(cell.median),
            );
        }
    }
}

/// The head of the table.
pub fn print_head() {
    println!(
        "| {:<8} | {:<72} | {:<15} | {:<36} | {:>8} | {:>17} | {:>7} | {:<6} |",
        "row", "what", "CPUs, us", "who", "median", "range", "ours/it", "ours"
    );
    let bar = |width: usize| "-".repeat(width);
    println!(
        "|{}|{}|{}|{}|{}:|{}:|{}:|{}|",
        bar(10),
        bar(74),
        bar(17),
        bar(38),
        bar(9),
        bar(18),
        bar(8),
        bar(8)
    );
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v > 0.0 && v < 0.001 => "<0.001".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl Report {
    /// Writes it as JSON.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let file = std::fs::File::create(path)?;
        serde_json::to_writer_pretty(file, self)?;
        Ok(())
    }
}

/// The load average of the last minute.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// The name of the CPU.
pub fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}
