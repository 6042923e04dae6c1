//! The outcomes as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The number of outcomes per kind of task.
pub type Counts = BTreeMap<(&'static str, &'static str), u64>;

pub struct Report {
    pub counts: Counts,
    pub problems: Vec<String>,
    pub killed: usize,
    pub resized: u64,
    pub restarts: u64,
    pub took: Duration,
}

impl Report {
    /// The first problems.
    pub fn problems(&self) -> Vec<String> {
        const MOST: usize = 20;
        let mut problems: Vec<String> = self.problems.iter().take(MOST).cloned().collect();
        if self.problems.len() > MOST {
            problems.push(format!("and {} more", self.problems.len() - MOST));
        }
        problems
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: BTreeSet<_> = self.counts.keys().map(|(kind, _)| *kind).collect();
        let outcomes: BTreeSet<_> = self.counts.keys().map(|(_, outcome)| *outcome).collect();
        write!(f, "{:24}", "")?;
        for outcome in &outcomes {
            write!(f, "{outcome:>15}")?;
        }
        for kind in kinds {
            write!(f, "\n{kind:24}")?;
            for outcome in &outcomes {
                match self.counts.get(&(kind, *outcome)) {
                    Some(count) => write!(f, "{count:>15}")?,
                    None => write!(f, "{:>15}", "-")?,
                }
            }
        }
        let all: u64 = self.counts.values().sum();
        write!(
            f,
            "\n{all} tasks in {:.1} s, {:.0} a second; {} worker processes killed, {} replaced; \
             pools resized {} times",
            self.took.as_secs_f64(),
            all as f64 / self.took.as_secs_f64(),
            self.killed,
            self.restarts,
            self.resized,
        )
    }
}
