//! The rows: what is measured, and by whom.

use std::time::{Duration, Instant};

use crate::celery;
use crate::figures::now;
use crate::ours::LOST_AFTER;
use crate::stage::{Process, Server, Stage};

/// One figure of a repetition.
pub struct Metric {
    pub name: &'static str,
    pub more_is_better: bool,
    /// What this project is to reach.
    pub target: &'static str,
}

const fn rate(name: &'static str, target: &'static str) -> Metric {
    Metric { name, more_is_better: true, target }
}

const fn cost(name: &'static str, target: &'static str) -> Metric {
    Metric { name, more_is_better: false, target }
}

/// One repetition, with processes that it starts and ends.
pub type Run = Box<dyn Fn() -> Vec<f64>>;

pub struct Contender {
    pub name: &'static str,
    pub run: Run,
}

pub struct Row {
    pub id: &'static str,
    pub title: String,
    pub metrics: &'static [Metric],
    /// The first one is this project: the others are compared with it.
    pub contenders: Vec<Contender>,
}

/// How many calls the rows make.
#[derive(Clone, Copy)]
pub struct Counts {
    /// All at once.
    pub burst: u64,
    /// One after the other.
    pub trips: u64,
    pub urgent: u64,
    pub kept: u64,
    pub bytes: usize,
}

/// Slots of a node, and processes of a worker.
const SLOTS: &str = "2";

fn contender(name: &'static str, run: impl Fn() -> Vec<f64> + 'static) -> Contender {
    Contender { name, run: Box::new(run) }
}

fn node(server: &Server, lost_after: u64, kind: &str, slots: &str, reserve: &str) -> Process {
    let lost_after = lost_after.to_string();
    let mut node = Process::role(&["node", &server.url(), &lost_after, kind, slots, reserve]);
    node.until("ready");
    node
}

fn with_node(kind: &str, slots: &str, reserve: &str) -> Stage {
    let server = Server::nats();
    let workers = vec![node(&server, LOST_AFTER, kind, slots, reserve)];
    Stage { server, workers }
}

fn launcher(stage: &Stage, role: &str, count: u64) -> Process {
    Process::role(&[role, &stage.server.url(), &count.to_string()])
}

fn bare(ids: &str) -> Stage {
    let server = Server::nats();
    let mut node = Process::role(&["bare-node", &server.url(), ids]);
    node.until("ready");
    Stage { server, workers: vec![node] }
}

fn with_celery(mut all: Vec<Contender>, what: &'static str, count: u64) -> Vec<Contender> {
    if celery::is_there() {
        all.push(contender("Celery on Redis, prefork, 2", move || celery::run(what, count)));
    }
    // It has no order by priority on Redis, and no reserves.
    #[cfg(feature = "peers")]
    if what != "urgent" {
        let count = count.min(2_000);
        all.push(contender("apalis on Redis, as it comes", move || {
            crate::apalis::run(what, "plain", count)
        }));
        all.push(contender("apalis on Redis, batches of 100, parallel", move || {
            crate::apalis::run(what, "quick", count)
        }));
    }
    all
}

pub fn all(counts: Counts) -> Vec<Row> {
    let Counts { burst, trips, urgent, kept, bytes } = counts;
    let ours = |name, kind: &'static str, role: &'static str, count| {
        contender(name, move || launcher(&with_node(kind, SLOTS, "0"), role, count).figures())
    };
    let burst_of = |name, kind: &'static str| {
        contender(name, move || {
            let stage = with_node(kind, SLOTS, "0");
            stage.rate(launcher(&stage, "rate", burst), burst)
        })
    };
    vec![
        Row {
            id: "R1",
            title: format!("{burst} calls at once, until all results are back"),
            metrics: const {
                &[
                    rate("calls/s", ">= 10,000"),
                    cost("CPU time per call, us", ""),
                    cost("CPU time of the launcher, us", ""),
                    cost("CPU time of the workers, us", ""),
                    cost("CPU time of the server, us", ""),
                ]
            },
            contenders: with_celery(
                vec![
                    burst_of("atasker, threads", "threads"),
                    burst_of("atasker, processes", "processes"),
                    contender("bare loop", move || {
                        let stage = bare("none");
                        stage.rate(launcher(&stage, "bare-rate", burst), burst)
                    }),
                    contender("bare loop, with message ids", move || {
                        let stage = bare("ids");
                        stage.rate(launcher(&stage, "bare-rate", burst), burst)
                    }),
                ],
                "rate",
                burst / 10,
            ),
        },
        Row {
            id: "R2",
            title: format!("one call there and back, {trips} times"),
            metrics: const {
                &[
                    cost("median, us", "<= 500"),
                    cost("p99, us", "<= 2,000"),
                    cost("a launch, median, us", "<= 5"),
                    cost("a launch of many, mean, us", "<= 5"),
                ]
            },
            contenders: with_celery(
                vec![
                    ours("atasker, threads", "threads", "trips", trips),
                    ours("atasker, processes", "processes", "trips", trips),
                    contender("bare loop", move || {
                        launcher(&bare("none"), "bare-trips", trips).figures()
                    }),
                ],
                "trips",
                trips / 4,
            ),
        },
        Row {
            id: "R3",
            title: "an urgent call while 10,000 low ones wait: launch to begin".to_owned(),
            metrics: const { &[cost("median, us", ""), cost("p99, us", "<= 5,000")] },
            contenders: with_celery(
                vec![
                    contender("atasker, 2 slots and one in reserve", move || {
                        launcher(&with_node("processes", "3", "1"), "urgent", urgent).figures()
                    }),
                    contender("atasker, 3 slots, no reserve", move || {
                        launcher(&with_node("processes", "3", "0"), "urgent", urgent).figures()
                    }),
                ],
                "urgent",
                urgent,
            ),
        },
        Row {
            id: "R4-killed",
            title: "a node is killed: until its call has begun elsewhere".to_owned(),
            metrics: const { &[cost("ms", "<= 2,500")] },
            contenders: vec![
                contender("atasker", || lost_node(libc::SIGKILL, LOST_AFTER)),
                contender("atasker, a node that starts after that", replaced_node),
            ],
        },
        Row {
            id: "R4-frozen",
            title: "a node is frozen: until its call has begun elsewhere, minus lost_after"
                .to_owned(),
            metrics: const { &[cost("ms", "<= 2,000")] },
            contenders: vec![contender("atasker, lost_after 3 s", || lost_node(libc::SIGSTOP, 3))],
        },
        Row {
            id: "R4-broker",
            title: "the broker was killed and is back after 3 s: until the first result".to_owned(),
            metrics: const { &[cost("ms", "<= 2,000")] },
            contenders: vec![contender("atasker", broker_back)],
        },
        Row {
            id: "R4-drain",
            title: "a node with short calls is asked to end: until it has ended".to_owned(),
            metrics: const { &[cost("ms", "<= 500")] },
            contenders: vec![contender("atasker", drained)],
        },
        Row {
            id: "R5",
            title: format!("echo of {} MiB, both directions together", bytes >> 20),
            metrics: const { &[rate("MB/s", ">= 200")] },
            contenders: vec![
                ours("atasker, threads", "threads", "echoes", bytes as u64),
                ours("atasker, processes", "processes", "echoes", bytes as u64),
            ],
        },
        Row {
            id: "R6-memory",
            title: format!("memory of the broker per outcome, between {} and {kept}", kept / 4),
            metrics: const { &[cost("bytes", "<= 1,024")] },
            contenders: vec![contender("atasker", move || memory(kept))],
        },
        Row {
            id: "R6-idle",
            title: "CPU time while nothing happens, in 10 s".to_owned(),
            metrics: const {
                &[cost("node, %", "<= 0.5"), cost("launcher, %", ""), cost("broker, %", "")]
            },
            contenders: vec![contender("atasker", idle)],
        },
    ]
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn time(line: &str) -> u64 {
    line.split(' ').next().and_then(|time| time.parse().ok()).expect("a time")
}

/// Two nodes; the one that has begun a call gets a signal. The time that this project waits for on
/// purpose is not counted.
fn lost_node(signal: i32, lost_after: u64) -> Vec<f64> {
    let server = Server::nats();
    let nodes: Vec<_> = (0..2).map(|_| node(&server, lost_after, "threads", SLOTS, "0")).collect();
    let mut launcher = Process::role(&["recovery", &server.url(), &lost_after.to_string()]);
    let begun = launcher.until("begun");
    let pid = begun.split(' ').nth(1).and_then(|pid| pid.parse::<u32>().ok());
    let node = nodes.iter().find(|node| Some(node.pid()) == pid).expect("one of the nodes");
    // Until the nodes have heard of each other.
    std::thread::sleep(Duration::from_millis(2500));
    let at = now();
    node.signal(signal);
    let took = time(&launcher.until("begun")).saturating_sub(at);
    let waited = if signal == libc::SIGSTOP { lost_after as f64 * 1e3 } else { 0.0 };
    vec![millis(took) - waited]
}

/// One node, which is killed, and another one that starts after that.
fn replaced_node() -> Vec<f64> {
    let server = Server::nats();
    let first = node(&server, LOST_AFTER, "threads", SLOTS, "0");
    let mut launcher = Process::role(&["recovery", &server.url(), &LOST_AFTER.to_string()]);
    launcher.until("begun");
    std::thread::sleep(Duration::from_millis(2500));
    first.signal(libc::SIGKILL);
    let _second = node(&server, LOST_AFTER, "threads", SLOTS, "0");
    let at = now();
    vec![millis(time(&launcher.until("begun")).saturating_sub(at))]
}

fn broker_back() -> Vec<f64> {
    let mut server = Server::nats();
    let _node = node(&server, LOST_AFTER, "threads", SLOTS, "0");
    let (lost_after, url) = (LOST_AFTER.to_string(), server.url());
    // 20 s of work.
    let mut launcher = Process::role(&["results", &url, &lost_after, "2000", "20000"]);
    launcher.until("stored");
    (0..20).for_each(|_| drop(launcher.until("ended")));
    server.kill();
    std::thread::sleep(Duration::from_secs(3));
    let back = server.run();
    // Results that had arrived before are read first.
    loop {
        let ended = time(&launcher.until("ended"));
        if ended > back {
            return vec![millis(ended - back)];
        }
    }
}

fn drained() -> Vec<f64> {
    let server = Server::nats();
    let mut first = node(&server, LOST_AFTER, "threads", SLOTS, "0");
    let _second = node(&server, LOST_AFTER, "threads", SLOTS, "0");
    let (lost_after, url) = (LOST_AFTER.to_string(), server.url());
    let mut launcher = Process::role(&["results", &url, &lost_after, "3000", "1000"]);
    launcher.until("stored");
    (0..500).for_each(|_| drop(launcher.until("ended")));
    let at = now();
    first.signal(libc::SIGTERM);
    first.wait();
    let took = millis(now() - at);
    // None was lost.
    (500..3000).for_each(|_| drop(launcher.until("ended")));
    vec![took]
}

fn memory(kept: u64) -> Vec<f64> {
    let stage = with_node("threads", SLOTS, "0");
    let few = kept / 4;
    let settled = || {
        std::thread::sleep(Duration::from_secs(3));
        stage.server.process().resident()
    };
    launcher(&stage, "rate", few).figures();
    let before = settled();
    launcher(&stage, "rate", kept - few).figures();
    vec![(settled() - before) / (kept - few) as f64]
}

fn idle() -> Vec<f64> {
    let stage = with_node("processes", SLOTS, "0");
    let mut launcher = Process::role(&["idle", &stage.server.url()]);
    launcher.until("ready");
    std::thread::sleep(Duration::from_secs(2));
    let all = [&stage.workers[0], &launcher, stage.server.process()];
    let before = all.map(Process::cpu);
    let begin = Instant::now();
    std::thread::sleep(Duration::from_secs(10));
    let seconds = begin.elapsed().as_secs_f64();
    (0..3).map(|at| (all[at].cpu() - before[at]) / seconds * 100.0).collect()
}
