//! Rows, contenders, and how they are measured: interleaved, with repetitions.

use crate::calm::calm;
use crate::probe::Probe;
use crate::report::{Cell, RowReport};

/// Which direction is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Rates.
    More,
    /// Times, sizes.
    Less,
}

/// One figure of a repetition of a row.
pub struct Metric {
    /// Shown beside the name of the row, if a row has several figures.
    pub name: &'static str,
    /// The unit of the figures.
    pub unit: &'static str,
    /// Which direction is better.
    pub better: Better,
}

impl Metric {
    /// A rate, as the only figure of its row.
    pub const fn rate(unit: &'static str) -> Metric {
        Metric { name: "", unit, better: Better::More }
    }

    /// A time or a size, as the only figure of its row.
    pub const fn cost(unit: &'static str) -> Metric {
        Metric { name: "", unit, better: Better::Less }
    }
}

/// One repetition: one figure per metric of the row.
pub type Run = Box<dyn FnMut() -> Vec<f64>>;

/// The name of a contender.
#[derive(Clone, Copy)]
pub struct Name {
    /// The name in the table.
    pub name: &'static str,
    /// Whether it is this project.
    pub ours: bool,
}

/// A contender: performs the work of a row.
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

    /// The name in the table.
    pub fn name(&self) -> &'static str {
        self.name.name
    }

    /// This project. Peers are compared with the first one of a row.
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
    /// One line per figure and contender.
    AsRows,
    /// One line; the row has a plot.
    AsPlot,
    /// One line in a table of this project only, shared by rows with the same prefix.
    AtSizes,
}

/// A row of the table, not yet measured.
pub struct Row {
    /// The short name for `--only`.
    pub id: String,
    /// A description of the work.
    pub title: String,
    /// The figures of a repetition.
    pub metrics: &'static [Metric],
    contenders: Box<dyn FnOnce() -> Vec<Contender>>,
    warm_up: bool,
    most_reps: usize,
    /// How the row is printed.
    pub shown: Shown,
}

impl Row {
    /// `contenders` returns the participants. Their pools live as long as the row is measured.
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

    /// Skips the warm-up round and limits the repetitions: for rows that take long and start with a
    /// new pool each time.
    pub fn at_most(self, reps: usize) -> Row {
        Row { warm_up: false, most_reps: reps, ..self }
    }

    /// Sets another presentation than one line per figure.
    pub fn shown(self, shown: Shown) -> Row {
        Row { shown, ..self }
    }
}

/// One repetition of one contender, and the distance of the CPUs just before.
#[derive(Clone)]
pub struct Sample {
    /// One figure per metric.
    pub figures: Vec<f64>,
    /// `None` if there is only one CPU.
    pub probe: Option<Probe>,
}

/// Measures a row: one warm-up round, then `reps` rounds. In each round every contender is
/// measured, beginning with another one each time, so that a slow phase of the machine affects all
/// of them. A measurement begins when all other contenders are idle. Only contenders whose name
/// contains one of `who` take part. Returns `None` if there is none.
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
        for position in 0..contenders.len() {
            let who = (round + position) % contenders.len();
            if let (false, Some(last)) = (calm(), last) {
                eprintln!("{}: {} does not become idle after its measurement", row.id, name(last));
            }
            last = Some(who);
            let probe = if probe { Probe::take() } else { None };
            let figures = runs[who]();
            assert_eq!(figures.len(), row.metrics.len(), "one figure per metric");
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

/// The median of the ratios within one round, over the rounds with the same distance of the CPUs
/// for both; over all rounds if there is none.
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

/// The median; of an even number of values, the mean of the middle two.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let half = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[half],
        _ => (figures[half - 1] + figures[half]) / 2.0,
    }
}

/// The value that `share` of all values do not exceed.
pub fn percentile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (share * figures.len() as f64).ceil() as usize;
    figures[at.clamp(1, figures.len()) - 1]
}
