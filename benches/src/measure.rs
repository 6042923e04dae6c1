//! Rows, contenders, and how they are measured: interleaved, with repetitions.

use crate::calm::calm;
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

    /// As in the table.
    pub fn name(&self) -> &'static str {
        self.name.name
    }

    /// This project; the first of a row is the one that peers are compared with.
    pub fn ours<F>(name: &'static str, make: impl FnOnce() -> F + 'static) -> Contender
    where
        F: FnMut() -> Vec<f64> + 'static,
    {
        Contender { name: Name { name, ours: true }, ..Contender::peer(name, make) }
    }
}

/// How a row is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// A line for each figure of each contender.
    AsRows,
    /// One line; there is a plot of it.
    AsPlot,
    /// One line of a table of this project alone, which rows of the same beginning share.
    AtSizes,
}

/// A row of the table, not yet measured.
pub struct Row {
    /// Its short name, for `--only`.
    pub id: String,
    /// What is done.
    pub title: String,
    /// What a repetition gives.
    pub metrics: &'static [Metric],
    contenders: Box<dyn FnOnce() -> Vec<Contender>>,
    warm_up: bool,
    most_reps: usize,
    /// How it is printed.
    pub shown: Shown,
}

impl Row {
    /// `contenders`: who takes part. Their pools live as long as the row is measured.
    pub fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        metrics: &'static [Metric],
        contenders: impl FnOnce() -> Vec<Contender> + 'static,
    ) -> Row {
        Row {
            id: id.into(),
            title: title.into(),
            metrics,
            contenders: Box::new(contenders),
            warm_up: true,
            most_reps: usize::MAX,
            shown: Shown::AsRows,
        }
    }

    /// No unmeasured round, and no more repetitions than this: for what takes long, and begins
    /// with a pool of its own each time.
    pub fn at_most(self, reps: usize) -> Row {
        Row { warm_up: false, most_reps: reps, ..self }
    }

    /// Other than as a row for each figure.
    pub fn shown(self, shown: Shown) -> Row {
        Row { shown, ..self }
    }
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
/// A turn begins when all others are idle. Only those whose name contains one of `who`. `None` if
/// there is nobody.
pub fn measure(row: Row, who: &[String], reps: usize, probe: bool) -> Option<RowReport> {
    let wanted = |name: &str| who.is_empty() || who.iter().any(|part| name.contains(part.as_str()));
    let all = (row.contenders)();
    let chosen = all.into_iter().filter(|contender| wanted(contender.name.name));
    let (contenders, mut runs): (Vec<Name>, Vec<Run>) =
        chosen.map(|Contender { name, make }| (name, make())).unzip();
    if contenders.is_empty() {
        return None;
    }
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); contenders.len()];
    let mut last = None;
    let name = |who: usize| contenders[who].name;
    let first = if row.warm_up { 0 } else { 1 };
    for round in first..=reps.min(row.most_reps) {
        for turn in 0..contenders.len() {
            let who = (round + turn) % contenders.len();
            if let (false, Some(last)) = (calm(), last) {
                eprintln!("{}: {} does not come to rest after its turn", row.id, name(last));
            }
            last = Some(who);
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
    Some(RowReport::new(row.id, row.title, row.shown, probes, cells))
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
