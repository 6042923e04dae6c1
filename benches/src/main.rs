//! atasker beside its peers: every row with all contenders in the same run, interleaved.
//!
//! ```text
//! cargo run --release -p atasker-benches -- [--only T1,P1] [--who NAME] [--reps 5] [--json FILE] [--list] [--no-probe]
//! ```
//!
//! | file | what |
//! |---|---|
//! | `rows` | what is measured |
//! | `peers` | who is measured, behind common interfaces |
//! | `measure`, `probe` | how |
//! | `report` | the table and the JSON |

mod measure;
mod peers;
mod probe;
mod report;
mod rows;

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::report::Report;

struct Options {
    only: Vec<String>,
    who: String,
    probe: bool,
    reps: usize,
    json: Option<PathBuf>,
    list: bool,
}

const HELP: &str = "\
Measures atasker beside its peers.

    --only ROWS   these rows only: names or their beginnings, with commas (T1,P3)
    --who NAME    those only whose name contains this, for a profiler
    --reps N      repetitions of each figure (5)
    --json FILE   writes the figures as JSON, too
    --list        names the rows
    --no-probe    leaves the probe out, which takes very long under valgrind";

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options {
        only: Vec::new(),
        who: String::new(),
        probe: true,
        reps: 5,
        json: None,
        list: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => {
                let rows = parser.value()?.string()?;
                options.only = rows.split(',').map(|row| row.trim().to_uppercase()).collect();
            }
            Long("who") => options.who = parser.value()?.string()?,
            Long("no-probe") => options.probe = false,
            Long("reps") => options.reps = parser.value()?.parse()?,
            Long("json") => options.json = Some(parser.value()?.into()),
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
    // Copies of this program that peers start as their worker processes stay in here. Ours never
    // get to `main`.
    peers::serve();

    let options = options()?;
    let wanted = |id: &str| {
        options.only.is_empty() || options.only.iter().any(|one| id.starts_with(one.as_str()))
    };
    let rows: Vec<_> = rows::all().into_iter().filter(|row| wanted(row.id)).collect();
    if rows.is_empty() {
        return Err("no such row: --list names them".into());
    }
    if options.list {
        for row in rows {
            println!("{:<8} {}", row.id, row.title);
        }
        return Ok(());
    }
    let mut report = Report {
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        reps: options.reps,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        cpu: report::cpu(),
        load: [report::load(); 2],
        rows: Vec::new(),
    };
    report::print_head();
    for row in rows {
        let measured = measure::measure(&row, &options.who, options.reps, options.probe);
        measured.print();
        report.rows.push(measured);
    }
    report.load[1] = report::load();
    println!(
        "\n{} repetitions, {} CPUs ({}), load average {} before and {} after.",
        report.reps, report.cpus, report.cpu, report.load[0], report.load[1]
    );
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    Ok(())
}
