//! The table, and its JSON form.

use std::path::Path;

use serde::Serialize;

use crate::measure::{Better, Metric, Name, Sample, Shown, median};
use crate::probe::{Probe, word};

/// The results of a run of the program.
#[derive(Serialize)]
pub struct Report {
    /// The conditions of the measurement.
    pub command: String,
    /// Repetitions of each figure.
    pub reps: usize,
    /// The number of available CPUs.
    pub cpus: usize,
    /// The name of the CPU, if the system reports it.
    pub cpu: String,
    /// The load average over one minute at the beginning and at the end.
    pub load: [f64; 2],
    /// The duration.
    pub seconds: f64,
    /// The rows, in order.
    pub rows: Vec<RowReport>,
}

/// A measured row.
#[derive(Serialize)]
pub struct RowReport {
    /// The name for `--only`.
    pub id: String,
    title: String,
    #[serde(skip)]
    shown: Shown,
    /// The round trip between the CPUs in microseconds, before each figure.
    probe: Vec<f64>,
    /// The wake-up of a sleeping thread in microseconds, before each figure.
    wake: Vec<f64>,
    /// One figure per contender.
    pub cells: Vec<Cell>,
}

/// One figure of one contender.
#[derive(Serialize)]
pub struct Cell {
    /// The contender.
    pub contender: &'static str,
    /// Whether it is this project.
    pub ours: bool,
    metric: &'static str,
    unit: &'static str,
    more_is_better: bool,
    /// The values of all repetitions.
    pub median: f64,
    least: f64,
    most: f64,
    all: Vec<f64>,
    /// The round trip between the CPUs in microseconds, before each value.
    probes: Vec<Option<f64>>,
    /// The wake-up of a sleeping thread in microseconds, before each value.
    wakes: Vec<Option<f64>>,
    /// This project relative to the contender: the median of the ratios of the rounds.
    ours_to_this: Option<f64>,
}

impl Cell {
    /// Summarizes the repetitions: the figure `at` of each sample.
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
            probes: samples.iter().map(|sample| sample.probe.map(|it| it.distance)).collect(),
            wakes: samples.iter().map(|sample| sample.probe.map(|it| it.wake)).collect(),
            ours_to_this: ratio,
        }
    }

    /// Whether this project is ahead of the contender.
    fn behind_ours(&self) -> Option<bool> {
        self.ours_to_this.map(|ratio| (ratio > 1.0) == self.more_is_better)
    }
}

impl RowReport {
    /// Assembles a row.
    pub fn new(
        id: String,
        title: String,
        shown: Shown,
        probes: Vec<Probe>,
        cells: Vec<Cell>,
    ) -> RowReport {
        let probe = probes.iter().map(|probe| probe.distance).collect();
        let wake = probes.iter().map(|probe| probe.wake).collect();
        RowReport { id, title, shown, probe, wake, cells }
    }

    fn probe_text(&self) -> String {
        if self.probe.is_empty() {
            return "not probed".to_owned();
        }
        let middle = median(self.probe.clone());
        let alike = self.probe.iter().filter(|one| word(**one) == word(middle)).count();
        match 100 * alike / self.probe.len() {
            100 => format!("{} {middle:.2}", word(middle)),
            share => format!("{} {middle:.2} ({share}%)", word(middle)),
        }
    }

    fn wake_text(&self) -> String {
        if self.wake.is_empty() {
            return String::new();
        }
        let least = self.wake.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.wake.iter().copied().fold(0.0, f64::max);
        format!("{:.1} ({least:.1} - {most:.1})", median(self.wake.clone()))
    }

    /// The row as lines of a Markdown table.
    pub fn print(&self) {
        match self.shown {
            Shown::AsRows => self.print_rows(),
            Shown::AsPlot => {
                let (probe, wake) = (self.probe_text(), self.wake_text());
                line([&self.id, &self.title, &probe, &wake, "(plotted)", "", "", "", ""]);
            }
            Shown::AtSizes => self.print_size(),
        }
    }

    /// Prints one line of the table of its kind; the first one prints the head.
    fn print_size(&self) {
        let (kind, size) = self.id.split_once('-').unwrap_or((&self.id, ""));
        let first = LAST_KIND.with(|last| last.replace(kind.to_owned())) != kind;
        if first {
            println!("\n**{kind}** {}\n", self.title);
            let names = self.cells.iter().map(|cell| format!("{}, {}", cell.metric, cell.unit));
            let names: Vec<_> = names.collect();
            println!("| {:>6} | {} | CPUs, us | wake-up, us |", "size", names.join(" | "));
            println!("|-------:|{}---|---|", "--:|".repeat(names.len()));
        }
        let cell = |cell: &Cell| match cell.all.len() {
            1 => figure(cell.median),
            _ => {
                format!("{} ({} - {})", figure(cell.median), figure(cell.least), figure(cell.most))
            }
        };
        let cells: Vec<_> = self.cells.iter().map(cell).collect();
        let (probe, wake) = (self.probe_text(), self.wake_text());
        println!("| {size:>6} | {} | {probe} | {wake} |", cells.join(" | "));
    }

    fn print_rows(&self) {
        let mut metric = None;
        for cell in &self.cells {
            let first = metric != Some(cell.metric);
            metric = Some(cell.metric);
            let (id, title, probe, wake) = match first {
                true => {
                    let of = if cell.metric.is_empty() { "" } else { ", " };
                    let title = format!("{}{of}{}, {}", self.title, cell.metric, cell.unit);
                    (self.id.as_str(), title, self.probe_text(), self.wake_text())
                }
                false => ("", String::new(), String::new(), String::new()),
            };
            let middle = figure(cell.median);
            let range = format!("{} - {}", figure(cell.least), figure(cell.most));
            let ratio = cell.ours_to_this.map(|r| format!("{}x", figure(r))).unwrap_or_default();
            let ahead = match cell.behind_ours() {
                Some(true) => "ahead",
                Some(false) => "behind",
                None => "",
            };
            line([id, &title, &probe, &wake, cell.contender, &middle, &range, &ratio, ahead]);
        }
    }
}

thread_local! {
    static LAST_KIND: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

fn line([id, what, cpus, wake, who, median, range, ratio, ours]: [&str; 9]) {
    println!(
        "| {id:<16} | {what:<72} | {cpus:<15} | {wake:<18} | {who:<36} | {median:>8} | {range:>17} | {ratio:>7} | {ours:<6} |"
    );
}

/// The head of the table.
pub fn print_head() {
    line(["row", "what", "CPUs, us", "wake-up, us", "who", "median", "range", "ours/it", "ours"]);
    let bar = |width: usize| "-".repeat(width);
    println!(
        "|{}|{}|{}|{}|{}|{}:|{}:|{}:|{}|",
        bar(18),
        bar(74),
        bar(17),
        bar(20),
        bar(38),
        bar(9),
        bar(18),
        bar(8),
        bar(8)
    );
}

/// Three significant digits.
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
    /// Writes the JSON file.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
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
