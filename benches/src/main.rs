//! atasker beside its peers: every row with all contenders in the same run, interleaved.
//!
//! ```text
//! cargo run --release -p atasker-benches -- [--only T1,P1] [--who NAMES] [--reps 5] [--json FILE] [--plots [DIR]] [--list]
//! ```
//!
//! | file | what |
//! |---|---|
//! | `rows` | what is measured |
//! | `pools` | the interface that rows use, and its implementation for this project |
//! | `peers` | the peers |
//! | `measure`, `probe`, `calm`, `memory` | how |
//! | `report`, `plot` | the table and the JSON; figures |
//!
//! Without the feature `peers` only this project is measured, and the build takes less time.

mod calm;
mod measure;
mod memory;
#[cfg(feature = "peers")]
mod peers;
mod plot;
mod pools;
mod probe;
mod report;
mod rows;

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::report::Report;

struct Options {
    only: Vec<String>,
    who: Vec<String>,
    probe: bool,
    reps: usize,
    json: PathBuf,
    plots: Option<PathBuf>,
    list: bool,
}

const HELP: &str = "\
Measures atasker beside its peers.

    --only ROWS    these rows only: names or their beginnings, with commas (T1,P3)
    --who NAMES    those only whose name contains one of these, with commas
    --reps N       repetitions of each figure (5)
    --json FILE    where the figures go as JSON (benches.json in the target folder)
    --plots [DIR]  makes the plots, too (docs/plots)
    --list         names the rows
    --no-probe     leaves the probes out, which take very long under valgrind";

/// A file next to the directory of the profile that this program was built with.
fn in_target(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(2).map_or_else(|| name.into(), |target| target.join(name))
}

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options {
        only: Vec::new(),
        who: Vec::new(),
        probe: true,
        reps: 5,
        json: in_target("benches.json"),
        plots: None,
        list: false,
    };
    let parts = |list: String| list.split(',').map(|part| part.trim().to_owned()).collect();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => options.only = parts(parser.value()?.string()?.to_uppercase()),
            Long("who") => options.who = parts(parser.value()?.string()?),
            Long("no-probe") => options.probe = false,
            Long("reps") => options.reps = parser.value()?.parse()?,
            Long("json") => options.json = parser.value()?.into(),
            Long("plots") => {
                let given = match parser.optional_value() {
                    Some(folder) => Some(folder),
                    None => parser.try_raw_args().and_then(|mut rest| {
                        rest.next_if(|next| !next.as_encoded_bytes().starts_with(b"-"))
                    }),
                };
                options.plots = Some(given.map_or_else(|| "docs/plots".into(), PathBuf::from));
            }
            Long("list") => options.list = true,
            Short('h') | Long("help") => {
                println!("{HELP}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    if options.reps == 0 {
        return Err("--reps must be at least 1".into());
    }
    Ok(options)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Copies of this program that peers start as their worker processes stay in here. Worker
    // processes of this project never reach `main`.
    #[cfg(feature = "peers")]
    peers::serve();
    rows::observed::serve();

    let options = options()?;
    let wanted = |id: &str| {
        options.only.is_empty() || {
            let id = id.to_uppercase();
            options.only.iter().any(|one| id.starts_with(one.as_str()))
        }
    };
    let rows: Vec<_> = rows::all().into_iter().filter(|row| wanted(&row.id)).collect();
    if options.list {
        rows.iter().for_each(|row| println!("{:<8} {}", row.id, row.title));
        for plot in rows::plotted::all().into_iter().filter(|plot| wanted(plot.id)) {
            println!("{:<8} {} ({})", plot.id, plot.title, plot.file);
        }
        return Ok(());
    }
    let began = std::time::Instant::now();
    let mut report = Report {
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        reps: options.reps,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        cpu: report::cpu(),
        load: [report::load(); 2],
        seconds: 0.0,
        rows: Vec::new(),
    };
    if rows.iter().any(|row| row.shown == measure::Shown::AsRows) {
        report::print_head();
    }
    for row in rows {
        if let Some(row) = measure::measure(row, &options.who, options.reps, options.probe) {
            row.print();
            report.rows.push(row);
        }
    }
    if let Some(folder) = &options.plots {
        println!();
        report::print_head();
        plots(folder, &wanted, &options, &mut report)?;
    }
    if report.rows.is_empty() {
        return Err("no such row, or no such contender in it: --list shows the rows".into());
    }
    report.load[1] = report::load();
    report.seconds = began.elapsed().as_secs_f64();
    println!(
        "\n{} repetitions, {} CPUs ({}), load average {} before and {} after; took {:.0} s; JSON in {}",
        report.reps,
        report.cpus,
        report.cpu,
        report.load[0],
        report.load[1],
        report.seconds,
        options.json.display(),
    );
    report.write(&options.json)?;
    Ok(())
}

/// Measures the rows of the plots and draws them.
fn plots(
    folder: &std::path::Path,
    wanted: &dyn Fn(&str) -> bool,
    options: &Options,
    report: &mut Report,
) -> Result<(), Box<dyn std::error::Error>> {
    for mut plot in rows::plotted::all().into_iter().filter(|plot| wanted(plot.id)) {
        let mut measured = Vec::new();
        for (place, row) in std::mem::take(&mut plot.rows) {
            if let Some(row) = measure::measure(row, &options.who, options.reps, options.probe) {
                row.print();
                measured.push((place, row));
            }
        }
        if !measured.is_empty() {
            plot::draw(folder, &plot, &measured)?;
        }
        report.rows.extend(measured.into_iter().map(|(_, row)| row));
    }
    Ok(())
}
