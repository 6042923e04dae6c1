//! Stress test of a cluster: submitters, nodes and a nats-server, as processes. Nodes are killed and
//! frozen, at random and at chosen moments in the life of a call; connections are cut; the server is
//! stopped and killed; requests are lost.
//!
//! ```text
//! cargo run --release -p atasker-tests --features nats --bin cluster -- \
//!     --seconds 60 --nodes 3 --kill-nodes 2s --freeze-nodes 5s --kill-broker 10s --seed 7
//! ```
//!
//! At the end, a table shows the outcomes. The program fails unless every call has had exactly one
//! outcome, everywhere the same, that fits what was done to it; no call ran more often than it may;
//! the queues are empty; and no process and no file is left.

mod calls;
mod check;
mod connect;
mod faults;
mod faulty;
mod functions;
mod log;
mod net;
mod node;
mod options;
mod processes;
mod submitter;

use std::collections::BTreeSet;
use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use atasker::Cluster;
use atasker_tests::random::Random;

use check::Record;
use faults::Stage;
use net::Net;
use options::{Options, Role};
use processes::Server;

/// How long acknowledgments that were lost may be made up for.
const QUEUES_EMPTY: Duration = Duration::from_secs(30);

/// How long calls may go on whose submitters were killed, once the others have ended.
const ORPHANS_END: Duration = Duration::from_secs(60);

/// How long a node may take to drain and to end.
const DRAIN: Duration = Duration::from_secs(20);

/// The most calls whose records are looked at.
const RECORDS: usize = 5_000;

/// The most problems that are shown.
const SHOWN: usize = 40;

fn main() -> ExitCode {
    if let Some(role) = Role::of_this_process() {
        show_events();
        match &*role.kind {
            "node" => node::main(&role),
            _ => submitter::main(&role),
        }
        return ExitCode::SUCCESS;
    }
    let mut options = match Options::from_args(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let folder = std::env::temp_dir().join(format!("atasker-cluster-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is a folder for temporary files");
    let problems = match run(&mut options, &folder) {
        Ok(problems) => problems,
        Err(error) => vec![error.to_string()],
    };
    if problems.is_empty() && !options.keep_files {
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        println!("files: {}", folder.display());
    }
    if problems.is_empty() {
        println!("every call has had exactly one outcome: {options}");
        return ExitCode::SUCCESS;
    }
    for problem in problems.iter().take(SHOWN) {
        println!("PROBLEM: {problem}");
    }
    println!("{} problems; again with: {options}", problems.len());
    ExitCode::FAILURE
}

/// Writes events to the file of the process.
fn show_events() {
    let filter = std::env::var("CLUSTER_LOG").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn run(options: &mut Options, folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let net = Net::new(options.network, options.nodes + options.submitters, port)?;
    options.network = Some(net.kind());
    println!("{options}");
    let mut server = Server::new(folder, &net, port)?;
    server.start().map_err(|error| format!("nats-server: {error}"))?;
    // Makes the streams, and looks at them at the end.
    let cluster = connect::plainly(&net.direct());
    let random = Random::new(options.seed);
    let mut stage = Stage::new(options, folder, &net, server, random)?;
    stage.play(Instant::now() + options.length)?;
    stage.calm()?;
    let ended = let_end(&mut stage)?;
    println!("{}; all calls ended after {ended:.1?}", stage.summary());
    let line = |name: &String| -> usize {
        let number = name.trim_start_matches('s').split('-').next().unwrap_or_default();
        options.nodes + number.parse::<usize>().unwrap_or_default()
    };
    let killed = &stage.killed;
    let names = stage.names.iter().map(|name| (name.clone(), line(name), killed.contains(name)));
    let mut record = Record::read(folder, names);
    let mut problems = adopt(&cluster, &mut record);
    record.read_runs(folder);
    println!("{record}");
    problems.extend(record.problems());
    let silent = stage.silent.iter();
    let silent: Vec<_> = silent
        .map(|silence| (silence.line, silence.from, silence.until.unwrap_or(u64::MAX)))
        .collect();
    problems.extend(record.missing(&silent));
    problems.extend(outcomes_stay(&cluster, &record));
    problems.extend(queues_are_empty(&cluster, stage.killed.is_empty()));
    problems.extend(dead_letters(&cluster, &record));
    problems.append(&mut stage.problems);
    problems.extend(end(&cluster, stage));
    problems.extend(files_left(folder));
    Ok(problems)
}

/// Finds out what has become of the calls whose submitters were killed.
fn adopt(cluster: &Cluster, record: &mut Record) -> Vec<String> {
    let mut problems = Vec::new();
    let until = Instant::now() + ORPHANS_END;
    for (call, id) in record.orphans() {
        let Ok(id) = id.parse() else { continue };
        let outcome = loop {
            let found = match cluster.find(id) {
                Ok(None) => break None,
                Ok(Some(found)) => found.info(),
                Err(error) => Err(error),
            };
            match found {
                Ok(info) if info.outcome.is_some() => {
                    let found = cluster.find(id).ok().flatten();
                    let outcome = found.map_or(Ok(()), |found| found.wait());
                    break Some((submitter::outcome_of(outcome), u64::from(info.attempt)));
                }
                _ if Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
                found => {
                    problems.push(format!("orphan {call} ({id}) has not ended: {found:?}"));
                    break Some(("none".to_owned(), 0));
                }
            }
        };
        record.found(call, outcome);
    }
    problems
}

/// Lets all calls end. Returns how long that took.
fn let_end(stage: &mut Stage<'_>) -> std::io::Result<Duration> {
    let begun = Instant::now();
    for submitter in &mut stage.submitters {
        submitter.close_stdin();
    }
    let limit = submitter::PATIENCE * 2 + Duration::from_secs(20);
    while begun.elapsed() < limit && stage.submitters.iter_mut().any(|s| s.ended().is_none()) {
        stage.attend()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(begun.elapsed())
}

/// Looks whether the cluster still has the outcomes that were told.
fn outcomes_stay(cluster: &Cluster, record: &Record) -> Vec<String> {
    let mut problems = Vec::new();
    for (text, attempt) in record.ended().take(RECORDS) {
        let Ok(id) = text.parse() else { continue };
        match cluster.find(id).map(|found| found.map(|found| found.info())) {
            Ok(Some(Ok(info))) if info.outcome.is_some() && u64::from(info.attempt) == attempt => {}
            found => problems.push(format!("{text} has ended by run {attempt}: {found:?}")),
        }
    }
    problems
}

/// Entries whose acknowledgment was lost come back, and are acknowledged then.
fn queues_are_empty(cluster: &Cluster, all_launchers: bool) -> Option<String> {
    let until = Instant::now() + QUEUES_EMPTY;
    loop {
        let mut queues = match cluster.info() {
            Ok(info) => info.queues,
            Err(error) => return Some(format!("no answer about the queues: {error}")),
        };
        let is_empty =
            |queue: &atasker::QueueInfo| queue.waiting.total() == 0 && queue.given_out == 0;
        // Entries of a queue that no node serves are removed by their launchers, unless those die.
        queues.retain(|queue| all_launchers || queue.name != "nowhere");
        if queues.iter().all(is_empty) {
            return None;
        }
        if Instant::now() > until {
            return Some(format!("the queues are not empty: {queues:?}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn dead_letters(cluster: &Cluster, record: &Record) -> Vec<String> {
    let expected = record.dead();
    let letters = match cluster.dead_letters() {
        Ok(letters) => letters,
        Err(error) => return vec![format!("no answer about the dead letters: {error}")],
    };
    let found: BTreeSet<_> = letters.iter().map(|letter| letter.id.to_string()).collect();
    let missing = expected.difference(&found).map(|id| format!("{id} is no dead letter"));
    let others = found.difference(&expected).filter(|id| !record.may_be_dead(id));
    let others = others.map(|id| format!("{id} is a dead letter"));
    println!("{} dead letters", found.len());
    missing.chain(others).collect()
}

/// Returns whether the cluster has all these nodes.
fn serve_all(cluster: &Cluster, mut names: impl Iterator<Item = String>) -> bool {
    let nodes = cluster.info().map(|info| info.nodes).unwrap_or_default();
    names.all(|name| nodes.iter().any(|node| node.name == name))
}

/// Ends nodes and server. Returns what was wrong with it.
fn end(cluster: &Cluster, mut stage: Stage<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    // One that has just been started has no handler of the signal yet.
    let until = Instant::now() + DRAIN;
    let names = || stage.nodes.iter().flatten().map(|node| node.role.name.clone());
    while Instant::now() < until && !serve_all(cluster, names()) {
        std::thread::sleep(Duration::from_millis(100));
    }
    cluster.close();
    for node in stage.nodes.iter().flatten() {
        processes::signal(node.pid(), libc::SIGTERM);
    }
    for node in stage.nodes.iter_mut().flatten() {
        let name = node.role.name.clone();
        match node.wait(DRAIN) {
            Some(status) if status == "exit status: 0" => {}
            Some(status) => problems.push(format!("{name} was drained, and has ended: {status}")),
            None => problems.push(format!("{name} does not end")),
        }
    }
    let folder = stage.submitters[0].role.folder.clone();
    stage.server.end(libc::SIGTERM);
    drop(stage);
    // The processes of killed nodes are about to end by themselves.
    let until = Instant::now() + DRAIN;
    loop {
        let left = processes::of_run(&folder);
        if left.is_empty() {
            return problems;
        }
        if Instant::now() > until {
            problems.extend(left.iter().map(|(pid, command)| format!("left: {pid} {command}")));
            left.iter().for_each(|(pid, _)| processes::signal(*pid, libc::SIGKILL));
            return problems;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Temporary files that were left by one of the processes.
fn files_left(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join(processes::TEMPORARY)).into_iter().flatten();
    files.flatten().map(|entry| format!("left: {}", entry.path().display())).collect()
}
