//! Maps and scopes: two threads or two worker processes.

use std::time::{Duration, Instant};

use atasker::{MpPoolConfig, PoolConfig, Supervisor, map};

use crate::measure::{Contender, Metric, Row};
#[cfg(feature = "peers")]
use crate::peers::{python, threads::rayon_pool};
use crate::pools::threads::{Ours, THREADS};
use crate::rows::threads::RATE;

const ITEMS: &[Metric] = &[Metric::rate("k items/s")];
const TRIP: &[Metric] = &[Metric::cost("us")];

/// The length of an item in nanoseconds, in words, and the number of items.
const SIZES: [(u64, &str, u64); 6] = [
    (100, "100 ns", 1_000_000),
    (1_000, "1 us", 150_000),
    (10_000, "10 us", 20_000),
    (100_000, "100 us", 2_000),
    (1_000_000, "1 ms", 200),
    (10_000_000, "10 ms", 20),
];

/// All rows of this module.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, (nanos, words, items)) in (1..).zip(SIZES) {
        let title = format!("map of {items} items of {words} on threads");
        rows.push(Row::new(format!("M{number}"), title, ITEMS, move || on_threads(nanos, items)));
    }
    for (number, (nanos, words, items)) in (1..).zip(SIZES) {
        let title = format!("map of {items} items of {words} in processes");
        let contenders = move || in_processes(nanos, items);
        rows.push(Row::new(format!("MP{number}"), title, ITEMS, contenders));
    }
    rows.push(Row::new("C1", "a scope of 100k empty tasks", RATE, || scopes(100_000)));
    rows.push(Row::new("C2", "a scope of two empty tasks", TRIP, small_scopes));
    rows
}

/// Computes for this long.
fn busy(nanos: &u64) -> u64 {
    let (begin, time) = (Instant::now(), Duration::from_nanos(*nanos));
    while begin.elapsed() < time {}
    *nanos
}

/// Thousands of items per second.
fn rate(items: u64, work: impl FnOnce() -> u64) -> Vec<f64> {
    let begin = Instant::now();
    let sum = work();
    let time = begin.elapsed();
    assert_eq!(sum % items, 0, "a result for each item");
    vec![items as f64 / time.as_secs_f64() / 1e3]
}

fn on_threads(nanos: u64, items: u64) -> Vec<Contender> {
    #[allow(unused_mut)]
    let mut all = vec![Contender::ours("atasker, map", move || {
        let pool = Ours::new();
        move || {
            rate(items, || {
                let results = map!(vec![nanos; items as usize], busy, supervisor = &pool.0);
                results.into_iter().map(Result::unwrap).sum()
            })
        }
    })];
    #[cfg(feature = "peers")]
    all.push(Contender::peer("rayon, par_iter", move || {
        let pool = rayon_pool();
        move || {
            rate(items, || {
                let items = vec![nanos; items as usize];
                pool.install(|| {
                    use rayon::prelude::*;
                    let results: Vec<u64> = items.par_iter().map(busy).collect();
                    results.into_iter().sum()
                })
            })
        }
    }));
    all
}

fn in_processes(nanos: u64, items: u64) -> Vec<Contender> {
    #[allow(unused_mut)]
    let mut all = vec![Contender::ours("atasker, map!", move || {
        let pool = Supervisor::builder().id("bench").mp_pool(MpPoolConfig::new(THREADS)).build();
        move || {
            rate(items, || {
                let items = vec![nanos; items as usize];
                let results = map!(items, busy, tt = "mp", supervisor = &pool);
                results.into_iter().map(Result::unwrap).sum()
            })
        }
    })];
    #[cfg(feature = "peers")]
    {
        // Python takes longer for each.
        let items = if nanos < 1_000_000 { items / 10 } else { items };
        let command = format!("maps {items} {nanos}");
        all.extend(python::contender("mpire", "mpire", &command));
        all.extend(python::contender("multiprocessing.Pool", "pool", &command));
    }
    all
}

/// Millions of tasks per second.
fn scopes(tasks: u64) -> Vec<Contender> {
    use std::sync::atomic::{AtomicU64, Ordering};
    fn measured(tasks: u64, scope: impl FnOnce(&AtomicU64)) -> Vec<f64> {
        let (begin, sum) = (Instant::now(), AtomicU64::new(0));
        scope(&sum);
        let time = begin.elapsed();
        assert_eq!(sum.into_inner(), tasks * (tasks - 1) / 2);
        vec![tasks as f64 / time.as_secs_f64() / 1e6]
    }
    #[allow(unused_mut)]
    let mut all = vec![Contender::ours("atasker, scope", move || {
        let sup = Supervisor::builder().id("bench").thread_pool(PoolConfig::new(THREADS)).build();
        move || {
            measured(tasks, |sum| {
                sup.scope(|s| {
                    for i in 0..tasks {
                        s.spawn(move || sum.fetch_add(i, Ordering::Relaxed));
                    }
                });
            })
        }
    })];
    #[cfg(feature = "peers")]
    all.push(Contender::peer("rayon::scope", move || {
        let pool = rayon_pool();
        move || {
            measured(tasks, |sum| {
                pool.in_place_scope(|s| {
                    for i in 0..tasks {
                        s.spawn(move |_| {
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                    }
                });
            })
        }
    }));
    // A thread for each.
    let threads = tasks / 100;
    all.push(Contender::peer("std::thread::scope", move || {
        move || {
            measured(threads, |sum| {
                std::thread::scope(|s| {
                    for i in 0..threads {
                        s.spawn(move || sum.fetch_add(i, Ordering::Relaxed));
                    }
                });
            })
        }
    }));
    all
}

/// Microseconds from the begin of a scope to its end.
fn small_scopes() -> Vec<Contender> {
    const SCOPES: u32 = 5_000;
    fn measured(mut scope: impl FnMut(&mut [u32; 2])) -> Vec<f64> {
        let (begin, mut numbers) = (Instant::now(), [0, 0]);
        for _ in 0..SCOPES {
            scope(&mut numbers);
        }
        let time = begin.elapsed();
        assert_eq!(numbers, [SCOPES; 2]);
        vec![time.as_secs_f64() * 1e6 / f64::from(SCOPES)]
    }
    #[allow(unused_mut)]
    let mut all = vec![Contender::ours("atasker, scope", || {
        let pool = Ours::new();
        move || {
            measured(|numbers| {
                pool.0.scope(|s| numbers.iter_mut().for_each(|n| drop(s.spawn(move || *n += 1))));
            })
        }
    })];
    #[cfg(feature = "peers")]
    all.push(Contender::peer("rayon::scope", || {
        let pool = rayon_pool();
        move || {
            measured(|numbers| {
                pool.in_place_scope(|s| {
                    numbers.iter_mut().for_each(|n| s.spawn(move |_| *n += 1));
                });
            })
        }
    }));
    all.push(Contender::peer("std::thread::scope", || {
        || {
            measured(|numbers| {
                std::thread::scope(|s| {
                    numbers.iter_mut().for_each(|n| drop(s.spawn(move || *n += 1)));
                });
            })
        }
    }));
    all
}
