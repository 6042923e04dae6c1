//! Rows, contenders, and how they are measured: interleaved, with repetitions.

use crate::probe::Probe;
use crate::report::{Cell, RowReport};

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Rates.
    More,
    /// Times, sizes.
    Less,
}

/// One figure that a repetition of a row gives.
pub struct Metric {
    /// Beside the row's name, where a row gives several figures.
    pub name: &'static str,
    /// What the figures count.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
}

impl Metric {
    /// A rate, the one figure of its row.
    pub const fn rate(unit: &'static str) -> Metric {
        Metric { name: "", unit, better: Better::More }
    }

    /// A time or a size, the one figure of its row.
    pub const fn cost(unit: &'static str) -> Metric {
        Metric { name: "", unit, better: Better::Less }
    }
}

/// One repetition: a figure per metric of the row.
pub type Run = Box<dyn FnMut() -> Vec<f64>>;

/// Who it is.
#[derive(Clone, Copy)]
pub struct Name {
    /// As in the table.
    pub name: &'static str,
    /// Whether it is this project.
    pub ours: bool,
}

/// Somebody who can do what a row asks for.
pub struct Contender {
    name: Name,
    make: Box<dyn FnOnce() -> Run>,
}

impl Contender {
    /// A peer. `make` starts its pool.
    pub fn peer<F>(name: &'static str, make: impl FnOnce() -> F + 'static) -> Contender
    where
        F: FnMut() -> Vec<f64> + 'static,
    {
        Contender { name: Name { name, ours: false }, make: Box::new(|| Box::new(make())) }
    }

    /// This project; the first of a row is the one that peers are compared with.
    pub fn ours<F>(name: &'static str, make: impl FnOnce() -> F + 'static) -> Contender
    where
        F: FnMut() -> Vec<f64> + 'static,
    {
        Contender { name: Name { name, ours: true }, ..Contender::peer(name, make) }
    }
}

/// A row of the table, not yet measured.
pub struct Row {
    /// Its short name, for `--only`.
    pub id: &'static str,
    /// What is done.
    pub title: &'static str,
    /// What a repetition gives.
    pub metrics: &'static [Metric],
    /// Who takes part. Their pools live as long as the row is measured.
    pub contenders: fn() -> Vec<Contender>,
}

/// One repetition of one contender, and how far apart the CPUs were just before.
#[derive(Clone)]
pub struct Sample {
    /// A figure per metric.
    pub figures: Vec<f64>,
    /// `None` where there is one CPU only.
    pub probe: Option<Probe>,
}

/// Measures a row: one unmeasured round, then `reps` rounds. In each round every contender has its
/// turn, beginning with another one each time, so that a slow moment of the machine hits all alike.
/// Only those whose name contains `who`.
pub fn measure(row: &Row, who: &str, reps: usize, probe: bool) -> RowReport {
    let chosen = (row.contenders)().into_iter().filter(|one| one.name.name.contains(who));
    let (contenders, mut runs): (Vec<Name>, Vec<Run>) =
        chosen.map(|Contender { name, make }| (name, make())).unzip();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); contenders.len()];
    for round in 0..=reps {
        for turn in 0..contenders.len() {
            let who = (round + turn) % contenders.len();
            let probe = if probe { Probe::take() } else { None };
            let figures = runs[who]();
            assert_eq!(figures.len(), row.metrics.len(), "a figure per metric");
            if round > 0 {
                samples[who].push(Sample { figures, probe });
            }
        }
    }
    let reference = contenders.iter().position(|contender| contender.ours);
    let mut cells = Vec::new();
    for (at, metric) in row.metrics.iter().enumerate() {
        for (who, contender) in contenders.iter().enumerate() {
            let ratio = reference
                .filter(|_| !contender.ours)
                .map(|ours| ratio(&samples[ours], &samples[who], at));
            cells.push(Cell::new(metric, *contender, &samples[who], at, ratio));
        }
    }
    let probes = samples.iter().flatten().filter_map(|sample| sample.probe).collect();
    RowReport::new(row, probes, cells)
}

/// The median of the ratios of what was taken in the same round, with the CPUs as far apart from
/// each other both times; of all rounds, if there is none of that kind.
fn ratio(ours: &[Sample], theirs: &[Sample], metric: usize) -> f64 {
    let ratios = |alike: bool| -> Vec<f64> {
        let word = |sample: &Sample| sample.probe.map(Probe::word);
        let rounds = ours.iter().zip(theirs).filter(|(a, b)| !alike || word(a) == word(b));
        rounds.map(|(a, b)| a.figures[metric] / b.figures[metric]).collect()
    };
    match ratios(true) {
        none if none.is_empty() => median(ratios(false)),
        some => median(some),
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let half = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[half],
        _ => (figures[half - 1] + figures[half]) / 2.0,
    }
}

/// The figure that `share` of all figures do not exceed.
pub fn percentile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (share * figures.len() as f64).ceil() as usize;
    figures[at.clamp(1, figures.len()) - 1]
}
