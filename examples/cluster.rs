//! The survey of source code, on several machines. Nodes are this program, started elsewhere.
//!
//! ```text
//! nats-server -js -sd /tmp/nats                                 # the broker, on one machine
//! cargo run --release --example cluster -- node                 # on each machine, as often as you like
//! cargo run --release --example cluster -- submit .             # on any machine
//! cargo run --release --example cluster -- info
//! ```
//!
//! `--url nats://HOST:4222` names the broker. The nodes need no files: each call carries the content
//! of one. Nodes may come and go meanwhile. One that gets SIGTERM or Ctrl-C drains; if one is killed,
//! its calls run on another node.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use atasker::{
    Cluster, MpPoolConfig, Nats, NodeConfig, TaskBuilder, TaskContext, background_task, bounded_by,
    supervisor,
};
use ignore::WalkBuilder;
use lexopt::prelude::*;

#[path = "survey/count.rs"]
mod count;
#[path = "survey/language.rs"]
mod language;
#[path = "survey/report.rs"]
mod report;
#[path = "survey/scan.rs"]
#[allow(dead_code)]
mod scan;

use report::Report;
use scan::FileReport;

const HELP: &str = "\
Usage: cluster [--url URL] node [--jobs N] [--name NAME]
       cluster [--url URL] submit DIR
       cluster [--url URL] info";

/// The number of files in flight. The others wait in the list of paths.
const IN_FLIGHT: usize = 256;

/// Reports the content of a file. Raise `version` when the table of languages changes: a report
/// contains an index of it, which means something else to a program with another table.
#[background_task(tt = "remote", priority = "low", version = 1, retries = 1, timeout = "1m")]
fn survey_file(ctx: &TaskContext, name: &str, content: &[u8]) -> Result<FileReport, String> {
    scan::scan(ctx, Path::new(name), content).map_err(|error| error.to_string())
}

/// Serves until SIGTERM or Ctrl-C.
fn node(cluster: &Cluster, jobs: usize, name: Option<String>) -> Result<ExitCode, Box<dyn Error>> {
    let mut config = NodeConfig::new(MpPoolConfig::new(jobs));
    if let Some(name) = name {
        config = config.name(name);
    }
    let node = cluster.serve(config)?;
    println!("{} serves with {jobs} slots", node.name());
    // Takes nothing more then, and gives the calls that run ten seconds to end.
    node.run_until_signal(Duration::from_secs(10));
    println!("{} is drained", node.name());
    Ok(ExitCode::SUCCESS)
}

fn submit(cluster: &Cluster, root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    supervisor().join_cluster(cluster);
    let started = Instant::now();
    let files = list_files(root)?;
    let mut report = Report::default();
    // A file is read when its call is launched, so few contents are in memory at a time.
    let readable = files.iter().enumerate().filter_map(|(place, file)| match std::fs::read(file) {
        Ok(content) => Some((place, call(file, &content))),
        Err(problem) => {
            eprintln!("{}: {problem}", file.display());
            None
        }
    });
    for (place, outcome) in bounded_by(IN_FLIGHT, readable).progress("surveying") {
        match outcome {
            Ok(Ok(file)) => report.add(place, file),
            Ok(Err(cause)) => report.fail(place, cause),
            // No node could end it: the calls of nodes that are killed run again elsewhere.
            Err(error) => report.fail(place, error.to_string()),
        }
    }
    report.print(root, &files, started.elapsed(), &mut std::io::stdout().lock())?;
    Ok(ExitCode::from(u8::from(report.files() < files.len() as u64)))
}

/// The call for one file, not launched yet.
fn call(file: &Path, content: &[u8]) -> TaskBuilder<Result<FileReport, String>> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    survey_file::builder(&name, content)
}

fn list_files(root: &Path) -> Result<Vec<PathBuf>, ignore::Error> {
    let is_file = |entry: &ignore::DirEntry| entry.file_type().is_some_and(|kind| kind.is_file());
    let walk = WalkBuilder::new(root).sort_by_file_name(Ord::cmp).build();
    let files = walk.filter(|entry| entry.as_ref().map_or(true, is_file));
    files.map(|entry| Ok(entry?.into_path())).collect()
}

/// Prints the nodes and the queues.
fn info(cluster: &Cluster) -> Result<ExitCode, Box<dyn Error>> {
    let info = cluster.info()?;
    println!("{}, {} nodes, {} dead letters", info.broker, info.nodes.len(), info.dead_letters);
    for node in info.nodes {
        println!("{}: process {}, {} of {} slots", node.name, node.pid, node.running, node.slots);
    }
    for queue in info.queues {
        let waiting = queue.waiting.total();
        println!("{}: {waiting} waiting, {} given out", queue.name, queue.given_out);
    }
    Ok(ExitCode::SUCCESS)
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut url = "nats://127.0.0.1:4222".to_owned();
    let mut jobs = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let (mut name, mut words) = (None, Vec::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("url") => url = parser.value()?.string()?,
            Long("jobs") => jobs = parser.value()?.parse::<usize>()?.max(1),
            Long("name") => name = Some(parser.value()?.string()?),
            Value(word) => words.push(word.string()?),
            _ => return Err(format!("{}\n{HELP}", arg.unexpected()).into()),
        }
    }
    let cluster = || Nats::new(url.as_str()).namespace("survey").connect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["node"] => node(&cluster()?, jobs, name),
        ["submit", root] => submit(&cluster()?, Path::new(root)),
        ["info"] => info(&cluster()?),
        _ => Err(HELP.into()),
    }
}

fn main() -> ExitCode {
    run().unwrap_or_else(|problem| {
        eprintln!("cluster: {problem}");
        ExitCode::from(2)
    })
}
