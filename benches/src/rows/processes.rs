//! Worker processes: two of them, unless the row states otherwise.

use atasker::{MpPoolConfig, Priority};

use crate::measure::{Better, Contender, Metric, Row, percentile};
#[cfg(feature = "peers")]
use crate::peers::{
    processes::{self as procspawn, Procspawn},
    python,
    socketpair::Socketpair,
};
use crate::pools::processes::{
    Ours, Processes, burst, echo_rate, first_result, fresh_process_per_call, idle_memory,
    idle_memory_of, replacement, round_trips, timed_round_trips, urgent_delays,
};
use crate::rows::latency;

pub const RATE: &[Metric] = &[Metric::rate("k calls/s")];
const TRIP: &[Metric] = &[Metric::cost("us")];
pub const BYTES: &[Metric] = &[Metric::rate("MB/s")];
const START: &[Metric] = &[Metric::cost("ms")];
const MEMORY: &[Metric] = &[Metric::cost("MiB")];
const FRESH: &[Metric] = &[Metric::rate("calls/s")];
const DELAYS: &[Metric] = &[
    Metric { name: "median", unit: "us", better: Better::Less },
    Metric { name: "p99", unit: "us", better: Better::Less },
];

/// One contender per pool, this project first: `$work` with a pool of two worker processes that is
/// closed at the end of the row; the pools of Python by a command of their script.
#[cfg(feature = "peers")]
macro_rules! on_processes {
    (|$pool:ident| $work:expr, $($name:literal $kind:literal $command:expr),* $(,)?) => {{
        let mut all = vec![
            Contender::ours("atasker", move || open::<Ours>(move |$pool| $work)),
            Contender::peer("socketpair pool by hand", move || {
                open::<Socketpair>(move |$pool| $work)
            }),
            Contender::peer("procspawn Pool", move || open::<Procspawn>(move |$pool| $work)),
        ];
        $(all.extend(python::contender($name, $kind, $command));)*
        all
    }};
}

#[cfg(not(feature = "peers"))]
macro_rules! on_processes {
    (|$pool:ident| $work:expr, $($name:literal $kind:literal $command:expr),* $(,)?) => {
        vec![Contender::ours("atasker", move || open::<Ours>(move |$pool| $work))]
    };
}

/// The same with a pool of one, which `$work` starts and closes itself.
#[cfg(feature = "peers")]
macro_rules! each_by_itself {
    ($work:ident, $command:literal) => {{
        let mut all = vec![
            Contender::ours("atasker", || || vec![$work::<Ours>()]),
            Contender::peer("socketpair pool by hand", || || vec![$work::<Socketpair>()]),
            Contender::peer("procspawn Pool", || || vec![$work::<Procspawn>()]),
        ];
        all.extend(python::contender("multiprocessing.Pool", "pool", $command));
        all.extend(python::contender("ProcessPoolExecutor", "executor", $command));
        all
    }};
}

#[cfg(not(feature = "peers"))]
macro_rules! each_by_itself {
    ($work:ident, $command:literal) => {
        vec![Contender::ours("atasker", || || vec![$work::<Ours>()])]
    };
}

/// All rows of this module.
pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("P1", "add(u64, u64): 200k submitted, then collected", RATE, || {
            bursts(200_000, 20_000)
        }),
        Row::new("P2", "one call, wait, repeat", TRIP, || {
            on_processes!(
                |pool| vec![round_trips(pool, TRIPS)],
                "multiprocessing.Pool" "pool" "trips 2000",
                "ProcessPoolExecutor" "executor" "trips 1000",
            )
        }),
    ];
    for (id, size) in [("1K", 1 << 10), ("64K", 1 << 16), ("1M", 1 << 20), ("16M", 1 << 24)] {
        rows.push(echo_row(id, size));
    }
    rows.push(echo_row("64M", 1 << 26));
    rows.push(Row::new(
        "T4p",
        "an urgent call behind 2400 sleeps of 50 us to 1 ms: submit to start",
        DELAYS,
        urgent_behind_many,
    ));
    rows.push(Row::new("P4", "one worker: pool made to first result", START, || {
        each_by_itself!(first_result, "first")
    }));
    rows.push(Row::new(
        "P4f",
        "the next result after a crash of the only worker",
        START,
        replacements,
    ));
    rows.push(Row::new("P7", "a fresh process per call, two under way", FRESH, || {
        fresh_processes(400)
    }));
    rows.push(Row::new("PSS", "one worker, idle: proportional set size", MEMORY, || {
        let mut all = each_by_itself!(idle_memory, "memory");
        let forked = || || vec![idle_memory_of(1, true)];
        all.insert(1, Contender::ours("atasker, from a template", forked));
        all
    }));
    rows.push(Row::new(
        "PSS8",
        "eight workers, idle: proportional set size of each",
        MEMORY,
        || {
            vec![
                Contender::ours("atasker, from a template", || || vec![idle_memory_of(8, true)]),
                Contender::ours("atasker, by exec", || || vec![idle_memory_of(8, false)]),
            ]
        },
    ));
    rows
}

const TRIPS: u64 = 5_000;

fn replacements() -> Vec<Contender> {
    let mut all = vec![
        Contender::ours("atasker, from a template", || || vec![replacement(true)]),
        Contender::ours("atasker, by exec", || || vec![replacement(false)]),
    ];
    #[cfg(feature = "peers")]
    all.push(Contender::peer("procspawn::spawn", || || vec![procspawn::fresh_process()]));
    all
}

#[cfg_attr(not(feature = "peers"), allow(unused_mut))]
fn fresh_processes(calls: usize) -> Vec<Contender> {
    let mut all = vec![
        Contender::ours("atasker, from a template", move || {
            move || vec![fresh_process_per_call(true, calls)]
        }),
        Contender::ours("atasker, by exec", move || {
            move || vec![fresh_process_per_call(false, calls)]
        }),
    ];
    #[cfg(feature = "peers")]
    {
        all.push(Contender::peer("procspawn::spawn", move || {
            move || vec![procspawn::fresh_process_per_call(calls)]
        }));
        let python = python::contender("maxtasksperchild=1", "pool", &format!("fresh {calls}"));
        all.extend(python);
    }
    all
}

fn urgent_behind_many() -> Vec<Contender> {
    fn ours(name: &'static str, reserve: usize, priority: Priority) -> Contender {
        Contender::ours(name, move || {
            move || {
                let pool = MpPoolConfig::new(WORKERS).reserve_high(reserve);
                let mut delays = urgent_delays(pool, priority);
                vec![percentile(&mut delays, 0.5), percentile(&mut delays, 0.99)]
            }
        })
    }
    vec![
        ours("atasker, high, one slot in reserve", 1, Priority::High),
        ours("atasker, high, no reserve", 0, Priority::High),
    ]
}

fn echo_row(id: &str, size: usize) -> Row {
    let (number, unit) = id.split_at(id.len() - 1);
    let shown = format!("{number} {unit}iB");
    let title = format!("echo of {shown}, two under way, bytes both ways");
    Row::new(format!("P3-{id}"), title, BYTES, move || echoes(size))
}

/// P1 with `calls` calls, and with fewer for contenders that take a hundred times as long.
#[cfg_attr(not(feature = "peers"), allow(unused_variables))]
pub fn bursts(calls: u64, of_slow: u64) -> Vec<Contender> {
    on_processes!(
        |pool| vec![burst(pool, calls, of_slow)],
        "multiprocessing.Pool" "pool" &format!("burst {of_slow}"),
        "ProcessPoolExecutor" "executor" &format!("burst {of_slow}"),
        "Pool.starmap, 8 chunks" "pool" &format!("starmap {calls}"),
    )
}

/// P1 with this number of calls, without the slow contenders.
pub fn large_bursts(calls: u64) -> Vec<Contender> {
    let slow = ["procspawn Pool", "multiprocessing.Pool", "ProcessPoolExecutor"];
    let mut all = bursts(calls, calls);
    all.retain(|contender| !slow.contains(&contender.name()));
    all
}

/// P2, with each round trip timed.
pub fn latencies() -> Vec<Contender> {
    on_processes!(
        |pool| latency::figures(timed_round_trips(pool, TRIPS)),
        "multiprocessing.Pool" "pool" "latencies 2000",
        "ProcessPoolExecutor" "executor" "latencies 1000",
    )
}

/// P3 with payloads of this size. Python, which is much slower, makes a quarter of the calls.
pub fn echoes(size: usize) -> Vec<Contender> {
    // About the same number of bytes at each size, within limits for the number of calls.
    let calls = ((400 << 20) / size).clamp(6, 8_000);
    on_processes!(
        |pool| vec![echo_rate(pool, size, calls)],
        "multiprocessing.Pool" "pool" &format!("echoes {size} {}", (calls / 4).max(2)),
        "ProcessPoolExecutor" "executor" &format!("echoes {size} {}", (calls / 4).max(2)),
    )
}

/// Worker processes of a pool.
const WORKERS: usize = 2;

/// A pool that is closed when the row is done.
struct Open<P: Processes>(Option<P>);

impl<P: Processes> Drop for Open<P> {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take() {
            pool.close();
        }
    }
}

fn open<P: Processes>(mut run: impl FnMut(&mut P) -> Vec<f64>) -> impl FnMut() -> Vec<f64> {
    let mut open = Open(Some(P::new(WORKERS)));
    move || run(open.0.as_mut().expect("open until the row is done"))
}
