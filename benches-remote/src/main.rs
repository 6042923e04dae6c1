//! Tasks on other machines beside their peers: rows R1 to R6 of BENCHMARKS.md.
//!
//! ```text
//! scripts/bench-remote [--only R1,R2] [--who NAMES] [--reps 3] [--json FILE] [--quick] [--list]
//! ```
//!
//! Each repetition of each contender starts a server, workers and a launcher anew. The contenders of
//! a row take turns, and each round begins with another one. Ratios are those within a round.

#[cfg(feature = "peers")]
mod apalis;
mod bare;
mod celery;
mod figures;
mod ours;
mod rows;
mod stage;

use lexopt::prelude::*;
use serde_json::json;

use crate::rows::{Counts, Row};

const HELP: &str = "\
Measures tasks on other machines beside their peers.

    --only ROWS    these rows only: names or their beginnings, with commas
    --who NAMES    those only whose name contains one of these, with commas
    --reps N       rounds (3)
    --quick        a tenth of the calls: shows that the rows run
    --json FILE    where the figures go as JSON
    --list         names the rows";

const FULL: Counts =
    Counts { burst: 20_000, trips: 2_000, urgent: 200, kept: 80_000, bytes: 64 << 20 };
const QUICK: Counts = Counts { burst: 2_000, trips: 200, urgent: 20, kept: 8_000, bytes: 4 << 20 };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| !first.starts_with('-')) {
        role(&args);
        return Ok(());
    }
    let (mut only, mut who, mut reps, mut json) = (Vec::new(), Vec::new(), 3_usize, None);
    let (mut counts, mut list) = (FULL, false);
    let parts = |list: String| -> Vec<String> { list.split(',').map(str::to_owned).collect() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => only = parts(parser.value()?.string()?),
            Long("who") => who = parts(parser.value()?.string()?),
            Long("reps") => reps = parser.value()?.parse()?,
            Long("json") => json = Some(std::path::PathBuf::from(parser.value()?)),
            Long("quick") => counts = QUICK,
            Long("list") => list = true,
            Short('h') | Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let mut measured = Vec::new();
    println!("load average {} before", load());
    for mut row in rows::all(counts) {
        if !only.is_empty() && !only.iter().any(|one| row.id.starts_with(one.as_str())) {
            continue;
        }
        if list {
            println!("{:<10} {}", row.id, row.title);
            continue;
        }
        let wanted = |name: &str| who.is_empty() || who.iter().any(|one| name.contains(one));
        row.contenders.retain(|contender| wanted(contender.name));
        if !row.contenders.is_empty() {
            measured.push(measure(&row, reps.max(1)));
        }
    }
    println!("\nload average {} after", load());
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(&measured)?)?;
    }
    Ok(())
}

/// What the processes do that a measurement starts.
fn role(args: &[String]) {
    let text = |at: usize| args[at].as_str();
    let number = |at: usize| args[at].parse::<u64>().expect("a number");
    match text(0) {
        "node" => {
            ours::node(text(1), number(2), text(3), number(4) as usize, number(5) as usize);
        }
        "rate" => ours::rate(text(1), number(2)),
        "trips" => ours::round_trips(text(1), number(2)),
        "urgent" => ours::urgent(text(1), number(2)),
        "recovery" => ours::recovery(text(1), number(2)),
        "results" => ours::results(text(1), number(2), number(3), number(4)),
        "echoes" => ours::echoes(text(1), number(2) as usize),
        "idle" => ours::idle(text(1)),
        "bare-node" => bare::node(text(1), text(2) == "ids"),
        "bare-rate" => bare::rate(text(1), number(2)),
        "bare-trips" => bare::round_trips(text(1), number(2)),
        #[cfg(feature = "peers")]
        "apalis-worker" => apalis::worker(text(1), text(2)),
        #[cfg(feature = "peers")]
        "apalis-rate" => apalis::rate(text(1), number(2)),
        #[cfg(feature = "peers")]
        "apalis-trips" => apalis::round_trips(text(1), number(2)),
        other => panic!("no such role: {other}"),
    }
}

/// Measures a row and prints it as a part of a Markdown document.
fn measure(row: &Row, reps: usize) -> serde_json::Value {
    let many = row.contenders.len();
    // Per contender, the rounds; per round, the figures.
    let mut figures = vec![Vec::new(); many];
    for round in 0..reps {
        for at in 0..many {
            let who = (round + at) % many;
            let figure = (row.contenders[who].run)();
            eprintln!("{} {}: {figure:?}, load {}", row.id, row.contenders[who].name, load());
            figures[who].push(figure);
        }
    }
    for (at, metric) in row.metrics.iter().enumerate() {
        let target = match metric.target {
            "" => String::new(),
            target => format!(" (target: {target})"),
        };
        println!("\n**{}** {}, {}{target}\n", row.id, row.title, metric.name);
        println!("| | median (range) | ours/it | ours |\n|---|--:|--:|---|");
        for (who, contender) in row.contenders.iter().enumerate() {
            let of = |who: usize| figures[who].iter().map(move |round| round[at]);
            let all: Vec<f64> = of(who).collect();
            if all.iter().any(|figure| figure.is_nan()) {
                continue;
            }
            let least = all.iter().copied().fold(f64::INFINITY, f64::min);
            let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let ratio = median(of(0).zip(of(who)).map(|(ours, it)| ours / it).collect());
            let is_ours = contender.name.starts_with("atasker");
            let verdict = match (is_ours, (ratio > 1.0) == metric.more_is_better) {
                (true, _) => "",
                (false, true) => "ahead",
                (false, false) => "behind",
            };
            let ratio = if who == 0 { String::new() } else { format!("{}x", shown(ratio)) };
            let (middle, least, most) = (shown(median(all)), shown(least), shown(most));
            println!("| {} | {middle} ({least} - {most}) | {ratio} | {verdict} |", contender.name);
        }
    }
    let names = row.contenders.iter().map(|contender| contender.name);
    let metrics: Vec<_> = row.metrics.iter().map(|metric| metric.name).collect();
    let of: Vec<_> = names
        .zip(&figures)
        .map(|(name, rounds)| json!({ "contender": name, "rounds": rounds }))
        .collect();
    json!({ "row": row.id, "title": row.title, "metrics": metrics, "figures": of })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let half = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[half],
        _ => (figures[half - 1] + figures[half]) / 2.0,
    }
}

/// Three significant digits.
fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The load average of the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
