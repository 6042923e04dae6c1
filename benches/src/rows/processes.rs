//! Worker processes: two of them, unless the row says otherwise.

use crate::measure::{Contender, Metric, Row};
use crate::peers::processes::{
    Ours, Processes, Procspawn, burst, echo_rate, first_result, idle_memory, round_trips,
};
use crate::peers::python::Python;
use crate::peers::socketpair::Socketpair;

const RATE: &[Metric] = &[Metric::rate("k calls/s")];
const TRIP: &[Metric] = &[Metric::cost("us")];
const BYTES: &[Metric] = &[Metric::rate("MB/s")];
const START: &[Metric] = &[Metric::cost("ms")];
const MEMORY: &[Metric] = &[Metric::cost("MiB")];

/// All rows of this part.
pub fn rows() -> Vec<Row> {
    vec![
        Row {
            id: "P1",
            title: "add(u64, u64): all submitted, then collected",
            metrics: RATE,
            contenders: || {
                let mut all = vec![
                    ours::<Ours>("atasker", |pool| burst(pool, 50_000)),
                    peer::<Socketpair>("socketpair pool by hand", |pool| burst(pool, 200_000)),
                    peer::<Procspawn>("procspawn Pool, 1000 at a time", |pool| burst(pool, 5_000)),
                ];
                all.extend(python("multiprocessing.Pool", "pool", "burst 10000"));
                all.extend(python("ProcessPoolExecutor", "executor", "burst 5000"));
                all.extend(python("Pool.starmap, 8 chunks", "pool", "starmap 400000"));
                all
            },
        },
        Row {
            id: "P2",
            title: "one call, wait, repeat",
            metrics: TRIP,
            contenders: || {
                let mut all = vec![
                    ours::<Ours>("atasker", |pool| round_trips(pool, 5_000)),
                    peer::<Socketpair>("socketpair pool by hand", |pool| round_trips(pool, 5_000)),
                    peer::<Procspawn>("procspawn Pool", |pool| round_trips(pool, 5_000)),
                ];
                all.extend(python("multiprocessing.Pool", "pool", "trips 2000"));
                all.extend(python("ProcessPoolExecutor", "executor", "trips 1000"));
                all
            },
        },
        Row {
            id: "P3-1K",
            title: "echo of 1 KiB, two under way, bytes both ways",
            metrics: BYTES,
            contenders: || echoes::<{ 1 << 10 }, 8_000>(),
        },
        Row {
            id: "P3-64K",
            title: "echo of 64 KiB, two under way, bytes both ways",
            metrics: BYTES,
            contenders: || echoes::<{ 64 << 10 }, 2_000>(),
        },
        Row {
            id: "P3-1M",
            title: "echo of 1 MiB, two under way, bytes both ways",
            metrics: BYTES,
            contenders: || echoes::<{ 1 << 20 }, 200>(),
        },
        Row {
            id: "P3-16M",
            title: "echo of 16 MiB, two under way, bytes both ways",
            metrics: BYTES,
            contenders: || echoes::<{ 16 << 20 }, 16>(),
        },
        Row {
            id: "P3-64M",
            title: "echo of 64 MiB, two under way, bytes both ways",
            metrics: BYTES,
            contenders: || echoes::<{ 64 << 20 }, 6>(),
        },
        Row {
            id: "P4",
            title: "one worker: pool made to first result",
            metrics: START,
            contenders: || {
                let mut all = vec![
                    Contender::ours("atasker", || || vec![first_result::<Ours>()]),
                    Contender::peer("socketpair pool by hand", || {
                        || vec![first_result::<Socketpair>()]
                    }),
                    Contender::peer("procspawn Pool", || || vec![first_result::<Procspawn>()]),
                ];
                all.extend(python("multiprocessing.Pool", "pool", "first"));
                all.extend(python("ProcessPoolExecutor", "executor", "first"));
                all
            },
        },
        Row {
            id: "PSS",
            title: "one worker, idle: proportional set size",
            metrics: MEMORY,
            contenders: || {
                let mut all = vec![
                    Contender::ours("atasker", || || vec![idle_memory::<Ours>()]),
                    Contender::peer("socketpair pool by hand", || {
                        || vec![idle_memory::<Socketpair>()]
                    }),
                    Contender::peer("procspawn Pool", || || vec![idle_memory::<Procspawn>()]),
                ];
                all.extend(python("multiprocessing.Pool", "pool", "memory"));
                all.extend(python("ProcessPoolExecutor", "executor", "memory"));
                all
            },
        },
    ]
}

/// Worker processes of a pool.
const WORKERS: usize = 2;

/// A pool that is closed at the end of the row.
struct Open<P: Processes>(Option<P>);

impl<P: Processes> Open<P> {
    fn pool(&mut self) -> &mut P {
        self.0.as_mut().expect("open until the end of the row")
    }
}

impl<P: Processes> Drop for Open<P> {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take() {
            pool.close();
        }
    }
}

fn pool<P: Processes>(mut run: impl FnMut(&mut P) -> f64) -> impl FnMut() -> Vec<f64> {
    let mut open = Open(Some(P::new(WORKERS)));
    move || vec![run(open.pool())]
}

fn ours<P: Processes>(name: &'static str, run: impl FnMut(&mut P) -> f64 + 'static) -> Contender {
    Contender::ours(name, || pool(run))
}

fn peer<P: Processes>(name: &'static str, run: impl FnMut(&mut P) -> f64 + 'static) -> Contender {
    Contender::peer(name, || pool(run))
}

fn python(name: &'static str, kind: &'static str, command: &str) -> Option<Contender> {
    let command = command.to_owned();
    Python::is_there().then(|| {
        Contender::peer(name, move || {
            let mut python = Python::start(kind);
            move || vec![python.figure(&command)]
        })
    })
}

fn echoes<const SIZE: usize, const CALLS: usize>() -> Vec<Contender> {
    fn rate<P: Processes>(size: usize, calls: usize) -> impl FnMut(&mut P) -> f64 {
        let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        move |pool| echo_rate(pool, &payload, calls)
    }
    let mut all = vec![
        ours::<Ours>("atasker", rate(SIZE, CALLS)),
        peer::<Socketpair>("socketpair pool by hand", rate(SIZE, CALLS)),
        peer::<Procspawn>("procspawn Pool, bytes", rate(SIZE, CALLS)),
    ];
    // Slower by far: fewer calls.
    let command = format!("echoes {SIZE} {}", (CALLS / 4).max(2));
    all.extend(python("multiprocessing.Pool", "pool", &command));
    all.extend(python("ProcessPoolExecutor", "executor", &command));
    all
}
