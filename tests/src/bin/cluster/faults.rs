//! What is done to the processes of a run, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use atasker_tests::random::Random;

use crate::connect::LOST_AFTER;
use crate::faulty::MOMENTS;
use crate::log::{self, Log};
use crate::net::{Cut, Net};
use crate::options::{Network, Options, Role};
use crate::processes::{Member, Server};

/// The processes of a run, and the failures that are made.
pub struct Stage<'a> {
    options: &'a Options,
    folder: &'a Path,
    pub net: &'a Net,
    pub server: Server,
    /// By their lines. `None` for a node that is to be started again.
    pub nodes: Vec<Option<Member>>,
    pub submitters: Vec<Member>,
    random: Random,
    log: Log,
    counts: BTreeMap<String, u64>,
    /// When something is to be made good again.
    repairs: Vec<(Instant, Repair)>,
    started: u64,
    is_calm: bool,
    /// Names of submitters, of which those that were killed are not among `submitters`.
    pub names: Vec<String>,
    pub killed: BTreeSet<String>,
    /// Between which times a line was cut, or the submitter at it was frozen.
    pub silent: Vec<Silence>,
    pub problems: Vec<String>,
}

/// A line was cut, or the submitter at it was frozen.
pub struct Silence {
    pub line: usize,
    pub from: u64,
    pub until: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repair {
    Server,
    Node(usize),
    Thaw(usize),
    ThawSubmitter(usize),
    Mend(usize),
}

/// A kind of failure and when it is due.
struct Rhythm {
    every: Option<Duration>,
    due: Instant,
}

impl Rhythm {
    fn new(every: Option<Duration>, random: &mut Random) -> Rhythm {
        let mut rhythm = Rhythm { every, due: Instant::now() };
        rhythm.next(random);
        rhythm
    }

    fn next(&mut self, random: &mut Random) {
        let every = self.every.unwrap_or_default().as_millis() as u64;
        self.due = Instant::now() + Duration::from_millis(every / 2 + random.below(every + 1));
    }

    fn is_due(&mut self, random: &mut Random) -> bool {
        let is_due = self.every.is_some() && Instant::now() >= self.due;
        if is_due {
            self.next(random);
        }
        is_due
    }
}

fn soon(random: &mut Random, least: u64, most: u64) -> Instant {
    Instant::now() + Duration::from_millis(least + random.below(most - least))
}

impl<'a> Stage<'a> {
    pub fn new(
        options: &'a Options,
        folder: &'a Path,
        net: &'a Net,
        server: Server,
        random: Random,
    ) -> io::Result<Stage<'a>> {
        let mut stage = Stage {
            options,
            folder,
            net,
            server,
            nodes: Vec::new(),
            submitters: Vec::new(),
            random,
            log: Log::open(folder.join(log::FAULTS)),
            counts: BTreeMap::new(),
            repairs: Vec::new(),
            started: 0,
            is_calm: false,
            names: Vec::new(),
            killed: BTreeSet::new(),
            silent: Vec::new(),
            problems: Vec::new(),
        };
        for line in 0..options.nodes {
            let node = stage.start_node(line)?;
            stage.nodes.push(Some(node));
        }
        for number in 0..options.submitters {
            let submitter = stage.start_submitter(number)?;
            stage.submitters.push(submitter);
        }
        Ok(stage)
    }

    fn start_submitter(&mut self, number: usize) -> io::Result<Member> {
        let line = self.options.nodes + number;
        let name = format!("s{number}-{}", self.names.len() + 1);
        self.note(&format!("start {name}"));
        self.names.push(name.clone());
        // Its calls are told apart by its seed.
        let seed = (self.options.seed & 0xff_ffff) << 8 | self.names.len() as u64;
        let role = self.role("submitter", name, line, seed, String::new());
        Member::start(role, self.net, line)
    }

    fn role(&self, kind: &str, name: String, line: usize, seed: u64, doom: String) -> Role {
        Role {
            kind: kind.to_owned(),
            name,
            url: self.net.url(line),
            folder: self.folder.to_owned(),
            seed,
            lies: self.options.lies,
            in_flight: self.options.in_flight,
            brief: self.options.brief,
            doom,
        }
    }

    fn start_node(&mut self, line: usize) -> io::Result<Member> {
        self.started += 1;
        // What it does to itself, and after how many calls.
        let (kills, freezes) = (self.options.kill_nodes, self.options.freeze_nodes);
        let signal = match self.random.below(4) {
            0 | 1 if kills.is_some() => Some(libc::SIGKILL),
            2 if freezes.is_some() => Some(libc::SIGSTOP),
            _ => None,
        };
        let signal = signal.filter(|_| !self.is_calm);
        let doom = signal.map_or(String::new(), |signal| {
            let (moment, after) = (self.random.pick(&MOMENTS), self.random.below(150));
            format!("{signal} {moment:?} {after}")
        });
        let (name, seed) = (format!("n{line}-{}", self.started), self.random.number() >> 1);
        self.note(&format!("start {name} {doom}"));
        Member::start(self.role("node", name, line, seed, doom), self.net, line)
    }

    fn note(&self, text: &str) {
        self.log.line(&format!("{} {text}", log::now()));
    }

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Makes failures until the time is over.
    ///
    /// # Errors
    /// If a process can't be started.
    pub fn play(&mut self, until: Instant) -> io::Result<()> {
        let Options { kill_nodes, freeze_nodes, cut, kill_broker, kill_submitters, .. } =
            *self.options;
        let rhythms = [kill_nodes, freeze_nodes, cut, kill_broker, kill_submitters];
        let mut rhythms = rhythms.map(|every| Rhythm::new(every, &mut self.random));
        while Instant::now() < until {
            self.repair(false)?;
            self.look_after_nodes();
            let due = rhythms.each_mut().map(|rhythm| rhythm.is_due(&mut self.random));
            if due[0] {
                self.kill_node();
            }
            if due[1] {
                self.freeze();
            }
            if due[2] {
                self.cut();
            }
            if due[3] {
                self.end_server();
            }
            if due[4] {
                self.kill_submitter()?;
            }
            for submitter in &mut self.submitters {
                if let Some(status) = submitter.ended() {
                    self.problems.push(format!("{} has ended: {status}", submitter.role.name));
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Makes everything good again. Nodes are started again, and no longer harm themselves.
    ///
    /// # Errors
    /// If a process can't be started.
    pub fn calm(&mut self) -> io::Result<()> {
        self.note("calm");
        self.is_calm = true;
        self.repair(true)
    }

    /// Keeps nodes alive that still have something planned, for one moment.
    ///
    /// # Errors
    /// If a process can't be started.
    pub fn attend(&mut self) -> io::Result<()> {
        self.look_after_nodes();
        self.repair(false)
    }

    fn repair(&mut self, all: bool) -> io::Result<()> {
        let now = Instant::now();
        let (due, later) = self.repairs.drain(..).partition(|(at, _)| all || *at <= now);
        self.repairs = later;
        let due: Vec<(Instant, Repair)> = due;
        for (_, repair) in due {
            match repair {
                Repair::Server => {
                    self.server.start()?;
                    self.note("server is back");
                }
                Repair::Node(line) => self.nodes[line] = Some(self.start_node(line)?),
                Repair::Thaw(line) => {
                    if let Some(node) = &self.nodes[line] {
                        self.note(&format!("thaw {}", node.role.name));
                        node.thaw();
                    }
                }
                Repair::ThawSubmitter(number) => {
                    let submitter = &self.submitters[number];
                    self.note(&format!("thaw {}", submitter.role.name));
                    submitter.thaw();
                    self.speaks(submitter.line);
                }
                Repair::Mend(line) => {
                    self.note(&format!("mend line {line}"));
                    self.net.mend(line);
                    self.speaks(line);
                }
            }
        }
        Ok(())
    }

    fn is_planned(&self, repair: Repair) -> bool {
        self.repairs.iter().any(|(_, planned)| *planned == repair)
    }

    /// Nodes that have killed or frozen themselves.
    fn look_after_nodes(&mut self) {
        for line in 0..self.nodes.len() {
            let Some(node) = &mut self.nodes[line] else { continue };
            let (name, doom) = (node.role.name.clone(), node.role.doom.clone());
            let is_drained = node.is_drained;
            if let Some(status) = node.ended() {
                self.nodes[line] = None;
                let (_, moment) = doom.split_once(' ').unwrap_or_default();
                let moment = moment.split(' ').next().unwrap_or_default();
                let by_itself = status.contains("SIGKILL") && !moment.is_empty();
                self.note(&format!("{name} has ended: {status} {doom}"));
                if by_itself {
                    self.count(&format!("killed {moment}"));
                } else if !status.contains("exit status: 3") && !is_drained {
                    self.problems.push(format!("{name} has ended: {status}"));
                }
                let at = soon(&mut self.random, 50, 1_000);
                self.repairs.push((at, Repair::Node(line)));
            } else if node.is_stopped() && !self.is_planned(Repair::Thaw(line)) {
                // Its worker processes go on, or not.
                let (_, moment) = doom.split_once(' ').unwrap_or_default();
                let moment = moment.split(' ').next().unwrap_or_default().to_owned();
                self.note(&format!("{name} has frozen itself: {moment}"));
                self.count(&format!("frozen {moment}"));
                self.thaw_later(line);
            }
        }
    }

    fn thaw_later(&mut self, line: usize) {
        let most = LOST_AFTER.as_millis() as u64 * 3;
        let at = soon(&mut self.random, 200, most);
        self.repairs.push((at, Repair::Thaw(line)));
    }

    fn is_silent(&mut self, line: usize) {
        self.silent.push(Silence { line, from: log::now(), until: None });
    }

    fn speaks(&mut self, line: usize) {
        let silent = self.silent.iter_mut().filter(|silence| silence.line == line);
        silent.for_each(|silence| _ = silence.until.get_or_insert_with(log::now));
    }

    fn kill_submitter(&mut self) -> io::Result<()> {
        let number = self.random.below(self.submitters.len() as u64) as usize;
        let name = self.submitters[number].role.name.clone();
        self.note(&format!("kill {name}"));
        self.count("killed launcher");
        self.submitters[number].kill();
        self.killed.insert(name);
        self.speaks(self.options.nodes + number);
        self.repairs.retain(|(_, repair)| *repair != Repair::ThawSubmitter(number));
        self.submitters[number] = self.start_submitter(number)?;
        Ok(())
    }

    fn kill_node(&mut self) {
        let line = self.random.below(self.nodes.len() as u64) as usize;
        if self.random.below(4) == 0 {
            let Some(node) = &mut self.nodes[line] else { return };
            // It is started again when it has ended.
            node.is_drained = true;
            crate::processes::signal(node.pid(), libc::SIGTERM);
            let name = node.role.name.clone();
            self.note(&format!("drain {name}"));
            return self.count("drained");
        }
        let Some(mut node) = self.nodes[line].take() else { return };
        self.note(&format!("kill {}", node.role.name));
        node.kill();
        self.count("killed");
        self.repairs.retain(|(_, repair)| *repair != Repair::Thaw(line));
        let at = soon(&mut self.random, 50, 1_000);
        self.repairs.push((at, Repair::Node(line)));
    }

    fn freeze(&mut self) {
        let whole = self.random.below(2) == 0;
        // A launcher now and then.
        if self.random.below(5) == 0 {
            let number = self.random.below(self.submitters.len() as u64) as usize;
            if !self.is_planned(Repair::ThawSubmitter(number)) {
                let submitter = &self.submitters[number];
                self.note(&format!("freeze {}", submitter.role.name));
                submitter.freeze(true);
                self.is_silent(submitter.line);
                self.count("frozen launcher");
                let at = soon(&mut self.random, 200, LOST_AFTER.as_millis() as u64 * 3);
                self.repairs.push((at, Repair::ThawSubmitter(number)));
            }
            return;
        }
        let line = self.random.below(self.nodes.len() as u64) as usize;
        let Some(node) = &self.nodes[line] else { return };
        if !self.is_planned(Repair::Thaw(line)) {
            self.note(&format!("freeze {} {whole}", node.role.name));
            node.freeze(whole);
            self.count("frozen");
            self.thaw_later(line);
        }
    }

    fn cut(&mut self) {
        let lines = self.nodes.len() + self.submitters.len();
        let line = self.random.below(lines as u64) as usize;
        if self.is_planned(Repair::Mend(line)) {
            return;
        }
        let how = match self.net.kind() {
            Network::Loopback => self.random.pick(&[Cut::Silently, Cut::Loudly]),
            Network::Namespaces => Cut::Silently,
        };
        self.note(&format!("cut line {line} {how:?}"));
        self.net.cut(line, how);
        self.is_silent(line);
        self.count(&format!("cut {how:?}"));
        let at = soon(&mut self.random, 100, LOST_AFTER.as_millis() as u64 * 3);
        self.repairs.push((at, Repair::Mend(line)));
    }

    fn end_server(&mut self) {
        if !self.server.is_running() {
            return;
        }
        let (signal, what) = match self.random.below(3) {
            0 => (libc::SIGTERM, "server stopped"),
            _ => (libc::SIGKILL, "server killed"),
        };
        self.note(what);
        self.count(what);
        self.server.end(signal);
        let most = self.random.pick(&[200, 1_000, 4_000]);
        let at = soon(&mut self.random, 50, most);
        self.repairs.push((at, Repair::Server));
    }

    /// What was done, for people.
    pub fn summary(&self) -> String {
        let counts = self.counts.iter().map(|(what, count)| format!("{what} {count}"));
        format!("{} node processes; {}", self.started, counts.collect::<Vec<_>>().join(", "))
    }
}
