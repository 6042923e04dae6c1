//! Guards against slowdowns without relying on clocks: counts the instructions per task and
//! compares them with those in `counts.json`.
//!
//! ```text
//! cargo run --release -p atasker-guard              # fails if a count has grown by more than 8 %
//! cargo run --release -p atasker-guard -- --update  # records the current counts
//! ```
//!
//! | file | what |
//! |---|---|
//! | `cases` | the measured cases: runs of this program |
//! | `valgrind` | how a program reports the end of a part to callgrind |
//! | `steps` | single-stepping, for what cannot run under valgrind |
//! | `counts` | the counts, and the file that stores them |

mod cases;
mod counts;
mod steps;
mod valgrind;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use counts::{Counts, Under};

/// A count may grow by this fraction.
const MARGIN: f64 = 0.08;
/// The number of times that the cases are counted that are single-stepped.
const STEPPED_RUNS: usize = 4;
/// A small count may grow by this number of instructions.
const SLACK: f64 = 20.0;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    if !cfg!(target_arch = "x86_64") {
        return Err("instructions are counted on x86-64 only".into());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["case", case] => {
            cases::run(case);
            Ok(ExitCode::SUCCESS)
        }
        [] => compare(),
        ["--update"] => {
            let counts = count_all()?;
            if !counts.parts.keys().any(|part| part.starts_with(cases::BY_STEPS.0)) {
                return Err("not recorded: a part is missing".into());
            }
            counts.write(&file())?;
            counts.print();
            println!("\nWritten to {}.", file().display());
            Ok(ExitCode::SUCCESS)
        }
        _ => Err("usage: atasker-guard [--update]".into()),
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.json")
}

fn compare() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let recorded = Counts::read(&file())?;
    let now = count_all()?;
    let mut grown = Vec::new();
    println!("{:<28} {:>10} {:>10} {:>8}", "instructions per task", "recorded", "now", "change");
    for (part, now) in &now.parts {
        let Some(before) = recorded.parts.get(part) else {
            return Err(format!("`{part}` is not recorded: run with --update").into());
        };
        let change = 100.0 * (now / before - 1.0);
        let word = match now - before {
            more if more > (MARGIN * before).max(SLACK) => {
                grown.push(part.as_str());
                "more"
            }
            more if -more > (MARGIN * before).max(SLACK) => "less: worth recording",
            _ => "",
        };
        println!("{part:<28} {before:>10.0} {now:>10.0} {change:>+7.1}% {word}");
    }
    if grown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let margin = 100.0 * MARGIN;
    println!(
        "\nMore than {margin} % more instructions per task than recorded: {}.",
        grown.join(", ")
    );
    if now.under != recorded.under {
        println!(
            "Recorded with {}; now with {}. Not comparable, so this is no failure: record the \
             counts of this system with --update.",
            recorded.under, now.under
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "Where they went: callgrind_annotate {}/CASE.N\nIf it is worth its price: \
         cargo run --release -p atasker-guard -- --update",
        output_folder().display()
    );
    Ok(ExitCode::FAILURE)
}

fn count_all() -> Result<Counts, Box<dyn std::error::Error>> {
    let mut counts = Counts { under: Under::here(), parts: Default::default() };
    for case in cases::BY_VALGRIND {
        count_by_valgrind(case, &mut counts)?;
    }
    // The worker processes run freely, so what the program does depends on when they are ready. The
    // lowest of several counts is that of the program itself.
    for _ in 0..STEPPED_RUNS {
        count_by_steps(&mut counts)?;
    }
    Ok(counts)
}

/// Runs this program and stops it after each instruction.
fn count_by_steps(counts: &mut Counts) -> Result<(), Box<dyn std::error::Error>> {
    let (case, parts) = cases::BY_STEPS;
    // On the same CPU, stops cost less.
    cases::one_cpu();
    let mut program = Command::new(std::env::current_exe()?);
    // After the last round nothing is counted.
    let all = cases::ROUNDS * parts.len() - 1;
    let counted = match steps::count(program.args(["case", case]), all) {
        Ok(counted) => counted,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("`{case}` is not counted: this system allows no ptrace ({error})");
            return Ok(());
        }
        Err(error) => return Err(format!("`{case}`, step by step: {error}").into()),
    };
    for (part, count) in parts.iter().cycle().zip(counted) {
        if !part.is_empty() {
            counts.add(format!("{case}: {part}"), count as f64 / f64::from(cases::CALLS));
        }
    }
    Ok(())
}

/// Next to the directory of the profile that this program was built with.
fn output_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(2).unwrap_or(Path::new(".")).join("guard")
}

/// Runs this program under valgrind.
fn count_by_valgrind(case: &str, counts: &mut Counts) -> Result<(), Box<dyn std::error::Error>> {
    let folder = output_folder();
    std::fs::create_dir_all(&folder)?;
    let out = folder.join(case);
    for number in 1..100 {
        let _ = std::fs::remove_file(folder.join(format!("{case}.{number}")));
    }
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(&out);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--trace-children=no"])
        .arg(file)
        .arg(std::env::current_exe()?)
        .args(["case", case])
        .output()
        .map_err(|error| format!("valgrind cannot be started ({error}), but is required"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{case}` under valgrind: {}\n{said}", output.status).into());
    }
    // One file per request of the program.
    for number in 1.. {
        let Ok(text) = std::fs::read_to_string(folder.join(format!("{case}.{number}"))) else {
            break;
        };
        if let Some((part, total)) = counts::dumped(&text) {
            counts.add(format!("{case}: {part}"), total / f64::from(cases::TASKS));
        }
    }
    match counts.parts.keys().any(|part| part.starts_with(case)) {
        true => Ok(()),
        false => Err(format!("`{case}` produced no counts").into()),
    }
}
