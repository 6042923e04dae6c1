//! What must hold for the calls of a run, from what its processes have written down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use crate::log;

/// A call, as its submitter knows it.
#[derive(Default)]
struct Call {
    id: String,
    kind: String,
    retries: u64,
    redeliver: u64,
    expires: bool,
    key: Option<u64>,
    is_delayed: bool,
    /// Its submitter was killed.
    is_orphan: bool,
    outcomes: Vec<Outcome>,
    callbacks: Vec<String>,
    seconds: Vec<String>,
    /// When `cancel` returned `true`.
    canceled: Vec<u64>,
}

struct Outcome {
    word: String,
    attempt: u64,
    text: String,
}

/// The last messages of a run have not come.
struct Missing {
    call: u64,
    run: u64,
    /// When the outcome was there.
    time: u64,
    text: String,
    /// The line of the submitter.
    line: usize,
}

/// A run, as its node has written it down.
#[derive(Clone, Debug)]
struct Run {
    attempt: u64,
    begin: u64,
    /// Shown with problems.
    #[expect(dead_code, reason = "read by `Debug` only")]
    node: String,
    end: Option<u64>,
}

/// All calls and runs.
#[derive(Default)]
pub struct Record {
    calls: BTreeMap<u64, Call>,
    runs: BTreeMap<u64, Vec<Run>>,
    /// Launches that started nothing, because another call held their key.
    held: BTreeSet<u64>,
    missing: Vec<Missing>,
    /// Of a submitter: the line, whether it was killed, the last call that is stored.
    of: (usize, bool, u64),
    /// Calls of submitters that were killed, which are known to be stored.
    stored: BTreeSet<u64>,
    /// Calls that the cluster does not know.
    not_found: Vec<u64>,
    /// The ids of calls of which nothing is expected.
    dropped: BTreeSet<String>,
    /// The upper halves of the numbers of calls of submitters that were killed.
    killed: BTreeSet<u64>,
    problems: Vec<String>,
}

impl Record {
    /// Reads what is written in the folder of a run. `submitters` are the names, their lines, and
    /// whether they were killed.
    pub fn read(folder: &Path, submitters: impl Iterator<Item = (String, usize, bool)>) -> Record {
        let mut record = Record::default();
        for (name, line, is_killed) in submitters {
            record.of = (line, is_killed, 0);
            let text = std::fs::read_to_string(folder.join(log::calls(&name))).unwrap_or_default();
            let own = text.lines().map(|line| record.call_line(line)).max().unwrap_or_default();
            if !text.lines().any(|line| line == "W done") && !is_killed {
                record.problems.push(format!("submitter {name} has not come to its end"));
            }
            let stored = record.of.2;
            let first = own & !0xffff_ffff;
            if is_killed {
                record.killed.insert(own >> 32);
            }
            if is_killed && first <= stored {
                let orphans = record.calls.range(first..=stored);
                let stored =
                    orphans.filter(|(_, call)| !call.is_delayed).map(|(number, _)| *number);
                record.stored.extend(stored);
            }
        }
        record
    }

    /// Reads which runs there were, once all calls have ended.
    pub fn read_runs(&mut self, folder: &Path) {
        let runs = std::fs::read_to_string(folder.join(log::RUNS)).unwrap_or_default();
        runs.lines().for_each(|line| self.run_line(line));
        for call in std::mem::take(&mut self.not_found) {
            if self.stored.contains(&call) || self.runs.contains_key(&call) {
                let id = self.calls.get(&call).map_or("", |call| &call.id);
                self.problems.push(format!("orphan {call} ({id}) was stored, and is not found"));
            } else {
                self.calls.remove(&call);
            }
        }
    }

    /// The calls whose submitters were killed before they knew the outcome: numbers and ids.
    pub fn orphans(&mut self) -> Vec<(u64, String)> {
        // Those of a queue that no node serves wait until the broker forgets them.
        let dropped = &mut self.dropped;
        self.calls.retain(|_, call| {
            let drops = call.is_orphan && call.kind == "nowhere" && call.outcomes.is_empty();
            drops.then(|| dropped.insert(call.id.clone()));
            !drops
        });
        let orphans =
            self.calls.iter().filter(|(_, call)| call.is_orphan && call.outcomes.is_empty());
        orphans.map(|(number, call)| (*number, call.id.clone())).collect()
    }

    /// Calls that have ended with a run, and the number of that run.
    pub fn ended(&self) -> impl Iterator<Item = (&str, u64)> {
        self.calls.values().filter(|call| !call.is_orphan).filter_map(|call| {
            let outcome = call.outcomes.first()?;
            let by_run = ["ok", "err", "panicked", "died", "timed-out"].contains(&&*outcome.word);
            by_run.then_some((&*call.id, outcome.attempt))
        })
    }

    /// The outcome of an orphan: `None` if the cluster does not know it.
    pub fn found(&mut self, call: u64, outcome: Option<(String, u64)>) {
        let Some(orphan) = self.calls.get_mut(&call) else { return };
        // One that was never stored, of which its submitter was told before it was killed.
        let told = || orphan.callbacks.first().map(|text| (text.clone(), 0));
        match outcome.or_else(told) {
            Some((text, attempt)) => {
                let word = text.split(' ').next().unwrap_or_default().to_owned();
                orphan.outcomes.push(Outcome { word, attempt, text });
            }
            None => self.not_found.push(call),
        }
    }

    /// Returns the number of the call.
    fn call_line(&mut self, line: &str) -> u64 {
        let (letter, rest) = line.split_once(' ').unwrap_or_default();
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let number: u64 = number.parse().unwrap_or_default();
        let (own_line, is_orphan, stored) = self.of;
        let call = self.calls.entry(number).or_default();
        call.is_orphan = is_orphan;
        let mut words = rest.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        match letter {
            "L" => {
                (call.id, call.kind) = (word(), word());
                call.retries = word().parse().unwrap_or_default();
                call.redeliver = word().parse().unwrap_or_default();
                call.expires = word() != "-";
                call.key = word().parse().ok();
                call.is_delayed = word() == "delayed";
            }
            "C" => call.callbacks.push(rest.to_owned()),
            "S" => call.seconds.push(rest.to_owned()),
            "O" => {
                let (outcome, attempt, _losses, _time) = (word(), word(), word(), word());
                let text = words.collect::<Vec<_>>().join(" ");
                let attempt = attempt.parse().unwrap_or_default();
                let text = format!("{outcome} {text}").trim_end().to_owned();
                call.outcomes.push(Outcome { word: outcome, attempt, text });
            }
            "V" => {
                let (verb, _by, _since, until, answer) = (word(), word(), word(), word(), word());
                if verb == "cancel" && answer == "true" {
                    call.canceled.push(until.parse().unwrap_or_default());
                }
            }
            "P" => self.problems.push(format!("call {number} {rest}")),
            "T" => {
                let (run, time) = (word(), word());
                let [run, time] = [run, time].map(|number| number.parse().unwrap_or_default());
                let text = words.collect::<Vec<_>>().join(" ");
                self.missing.push(Missing { call: number, run, time, text, line: own_line });
            }
            "F" => {
                self.of.2 = stored.max(number);
                self.calls
                    .remove(&number)
                    .filter(|call| !call.id.is_empty())
                    .map(|call| self.calls.insert(number, call));
            }
            "H" => drop(self.held.insert(number)),
            _ => {}
        }
        // Lines about no call, or about one that was not launched.
        if number == 0 || self.held.contains(&number) {
            self.calls.remove(&number);
        }
        number
    }

    fn run_line(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let number = |i: usize| words.get(i).and_then(|word| word.parse::<u64>().ok());
        let (Some(call), Some(attempt), Some(time)) = (number(1), number(2), number(3)) else {
            return self.problems.push(format!("a line of the runs can't be read: {line}"));
        };
        let runs = self.runs.entry(call).or_default();
        match words[0] {
            "B" => {
                let node = words.get(4).copied().unwrap_or_default().to_owned();
                runs.push(Run { attempt, begin: time, node, end: None });
            }
            _ => {
                let run = runs.iter_mut().rev().find(|run| run.attempt == attempt);
                if let Some(run) = run {
                    run.end = Some(time);
                }
            }
        }
    }

    /// The ids of the calls that must be dead letters.
    pub fn dead(&self) -> BTreeSet<String> {
        let is_dead = |call: &&Call| {
            call.outcomes.first().is_some_and(|outcome| match &*outcome.word {
                "ok" | "canceled" => false,
                // Never stored.
                "full" | "duplicate" => false,
                _ => true,
            })
        };
        self.calls.values().filter(is_dead).map(|call| call.id.clone()).collect()
    }

    /// Messages that have not come although the submitter was there. `silent` says when one was not:
    /// its line, and since when and until when.
    pub fn missing(&self, silent: &[(usize, u64, u64)]) -> Vec<String> {
        let excused = |missing: &&Missing| {
            let runs = self.runs.get(&missing.call).into_iter().flatten();
            let end = runs.filter(|run| run.attempt == missing.run).find_map(|run| run.end);
            let end = end.unwrap_or_default();
            // A node waits for `lost_after`.
            let least = 1_000_000_000;
            silent.iter().any(|(line, from, until)| {
                *line == missing.line
                    && until.min(&missing.time).saturating_sub(*from.max(&end)) >= least
            })
        };
        let text = |missing: &Missing| {
            let Missing { call, run, text, .. } = missing;
            format!("call {call}: {text}, of run {run}: {:?}", self.runs.get(call))
        };
        self.missing.iter().filter(|missing| !excused(missing)).map(text).collect()
    }

    /// Whether a call may be a dead letter although its outcome is no error. That the result of an
    /// orphan is an `Err` is not known.
    pub fn may_be_dead(&self, id: &str) -> bool {
        self.dropped.contains(id)
            || self
                .calls
                .values()
                .any(|call| call.id == id && call.is_orphan && call.kind == "errs")
    }

    /// What is wrong.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        for (number, call) in &self.calls {
            let runs = self.runs.get(number).map_or(&[][..], Vec::as_slice);
            let name = format!("call {number} ({}, {})", call.kind, call.id);
            let mut wrong = |text: String| problems.push(format!("{name}: {text}"));
            for text in check(call, runs) {
                wrong(text);
            }
        }
        // A submitter may be killed between a launch and the line about it.
        let unknown = self.runs.keys().filter(|number| !self.calls.contains_key(number));
        for number in unknown.filter(|number| !self.killed.contains(&(*number >> 32))) {
            problems.push(format!("call {number} was not launched, and has run"));
        }
        problems.extend(self.overlaps());
        problems
    }

    /// Calls of one key that have run at the same time. Only runs that the calls have ended with count,
    /// because another one may have been taken for lost.
    fn overlaps(&self) -> Vec<String> {
        let mut by_key: BTreeMap<u64, Vec<(u64, u64, u64)>> = BTreeMap::new();
        for (number, call) in &self.calls {
            let (Some(key), Some(outcome)) = (call.key, call.outcomes.first()) else { continue };
            let runs = self.runs.get(number).into_iter().flatten();
            let last = runs.into_iter().find(|run| run.attempt == outcome.attempt);
            if let Some(Run { begin, end: Some(end), .. }) = last.filter(|_| outcome.word == "ok") {
                by_key.entry(key).or_default().push((*begin, *end, *number));
            }
        }
        let mut problems = Vec::new();
        for (key, mut runs) in by_key {
            runs.sort_unstable();
            for pair in runs.windows(2) {
                let ((_, end, first), (begin, _, second)) = (pair[0], pair[1]);
                if begin < end {
                    let overlap = (end - begin) / 1_000;
                    problems.push(format!(
                        "calls {first} and {second} of the unique key {key} have run at the same \
                         time, for {overlap} us"
                    ));
                }
            }
        }
        problems
    }
}

/// Whether two outcomes are the same. Of some, it is only known that they are no error.
fn is_same(one: &str, other: &str) -> bool {
    let is_ok = |text: &str| text == "ok" || text.starts_with("ok ");
    one == other || (one == "ok" || other == "ok") && is_ok(one) && is_ok(other)
}

fn check(call: &Call, runs: &[Run]) -> Vec<String> {
    let mut wrong = Vec::new();
    let Call { retries, redeliver, .. } = *call;
    let most = 1 + retries + redeliver;
    if runs.len() as u64 > most {
        wrong.push(format!("{} runs, of at most {most}: {runs:?}", runs.len()));
    }
    let attempts: BTreeSet<_> = runs.iter().map(|run| run.attempt).collect();
    if attempts.len() < runs.len() || attempts.last().is_some_and(|last| *last > most) {
        wrong.push(format!("numbers of runs: {runs:?}"));
    }
    let [outcome] = &*call.outcomes else {
        if call.outcomes.len() > 1 {
            wrong.push(format!("{} outcomes", call.outcomes.len()));
        }
        // One without an outcome is a problem of its submitter.
        return wrong;
    };
    // Callbacks and other handles tell only errors of the task.
    let text = &*outcome.text.replacen("err ", "ok ", 1);
    // What was told to a submitter that was killed is the same, if it is anything.
    let told = |known: &String| is_same(known, text);
    let is_told = match call.is_orphan {
        true => call.callbacks.len() <= 1 && call.callbacks.iter().all(told),
        false => call.callbacks.len() == 1 && told(&call.callbacks[0]),
    };
    if !is_told {
        wrong.push(format!("outcome {text:?}, callbacks {:?}", call.callbacks));
    }
    for second in &call.seconds {
        // A member that asked after the call had ended here, without ever being stored.
        let was_never_stored = second.starts_with("cluster not found") && runs.is_empty();
        if !is_same(second, text) && !was_never_stored {
            wrong.push(format!("outcome {text:?}, second handle {second:?}"));
        }
    }
    let has_run = |attempt| runs.iter().any(|run| run.attempt == attempt);
    match &*outcome.word {
        "ok" | "err" | "panicked" | "died" | "timed-out" if !has_run(outcome.attempt) => {
            wrong.push(format!("{text:?} by run {}, of {runs:?}", outcome.attempt));
        }
        "expired" | "duplicate" | "full" if !runs.is_empty() => {
            wrong.push(format!("{text:?}, and has run: {runs:?}"));
        }
        _ => {}
    }
    for canceled in &call.canceled {
        if runs.iter().any(|run| run.begin > *canceled) {
            wrong.push(format!("`cancel` returned true at {canceled}: {runs:?}"));
        }
        if outcome.word != "canceled" {
            wrong.push(format!("`cancel` returned true, and the outcome is {text:?}"));
        }
    }
    wrong
}

impl fmt::Display for Record {
    /// The outcomes as a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for call in self.calls.values() {
            let word = call.outcomes.first().map_or("none", |outcome| &*outcome.word);
            *counts.entry((&call.kind, word)).or_default() += 1;
        }
        let kinds: BTreeSet<_> = counts.keys().map(|(kind, _)| *kind).collect();
        let words: BTreeSet<_> = counts.keys().map(|(_, word)| *word).collect();
        write!(f, "{:10}", "")?;
        words.iter().try_for_each(|word| write!(f, "{word:>11}"))?;
        for kind in kinds {
            write!(f, "\n{kind:10}")?;
            for word in &words {
                match counts.get(&(kind, *word)) {
                    Some(count) => write!(f, "{count:>11}")?,
                    None => write!(f, "{:>11}", "-")?,
                }
            }
        }
        let runs: usize = self.runs.values().map(Vec::len).sum();
        let again = self.runs.values().filter(|runs| runs.len() > 1).count();
        let seconds: usize = self.calls.values().map(|call| call.seconds.len()).sum();
        let orphans = self.calls.values().filter(|call| call.is_orphan).count();
        let canceled: usize = self.calls.values().map(|call| call.canceled.len()).sum();
        write!(
            f,
            "\n{} calls, {orphans} of them orphans, {runs} runs, {again} calls with several; {seconds} second handles; \
             {canceled} canceled for certain; {} launches found their key held; the last \
             messages of {} runs have not come",
            self.calls.len(),
            self.held.len(),
            self.missing.len()
        )
    }
}
