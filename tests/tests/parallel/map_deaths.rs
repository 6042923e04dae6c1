//! If worker processes die during a map, does that cost exactly the items that they were running,
//! and does every other item run once?

use std::collections::HashMap;

use atasker::{DeathCause, Supervisor, TaskError, map};
use atasker_tests::mp::{pool_of, supervisor, workers};
use atasker_tests::processes::signal;
use atasker_tests::scratch::{Scratch, append_line};
use atasker_tests::{FAR, Watchdog, eventually};

/// Supervisors whose worker processes share memory with the program, and do not.
fn both(size: usize) -> [Supervisor; 2] {
    [false, true].map(|sockets| supervisor(pool_of(size).__over_sockets(sockets)))
}

/// Whether an item of [`risky`] ends its process.
fn kills(n: u32) -> bool {
    n % 977 == 500
}

fn risky((file, n): (&str, u32)) -> String {
    append_line(file, &n.to_string());
    match (kills(n), n % 3) {
        (false, _) => format!("result {n}"),
        (true, 0) => std::process::exit(3),
        (true, 1) => std::process::abort(),
        _ => {
            signal(std::process::id(), 9);
            unreachable!()
        }
    }
}

/// The same, for an item that is encoded.
fn risky_item(item: (String, u32)) -> String {
    risky((&item.0, item.1))
}

/// Checks the results of `risky_item` for the items `0..count`.
#[track_caller]
fn check(results: Vec<Result<String, TaskError>>, file: &Scratch) {
    let count = results.len();
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(result) => assert_eq!((result, kills(n)), (format!("result {n}"), false)),
            Err(TaskError::WorkerDied(death)) => {
                assert!(kills(n), "item {n}: {death}");
                let cause = match n % 3 {
                    0 => DeathCause::Exit(3),
                    1 => DeathCause::Signal(6),
                    _ => DeathCause::Signal(9),
                };
                assert_eq!(*death.cause(), cause, "item {n}");
            }
            Err(other) => panic!("item {n}: {other}"),
        }
    }
    let mut runs: HashMap<String, u32> = HashMap::new();
    for line in file.lines() {
        *runs.entry(line).or_default() += 1;
    }
    let twice: Vec<_> = runs.iter().filter(|(_, runs)| **runs != 1).collect();
    assert!(twice.is_empty(), "they have run several times: {twice:?}");
    assert_eq!(runs.len(), count, "all have run");
}

#[test]
fn death_costs_the_item_that_was_running() {
    for (n, sup) in both(2).into_iter().enumerate() {
        let watchdog = Watchdog::new("a map whose worker processes die", FAR);
        watchdog.watch(&sup);
        let file = Scratch::new(&format!("map-deaths-{n}"));
        let items = (0..6000).map(|n| (file.name().to_owned(), n));
        check(map!(items, risky_item, tt = "mp", supervisor = &sup), &file);
    }
}

/// Items that are much shorter than a system call.
fn tiny(n: u32) -> u32 {
    if kills(n) {
        std::process::abort();
    }
    n + 1
}

#[test]
fn short_items_keep_their_results() {
    for sup in both(2) {
        let watchdog = Watchdog::new("a map of short items whose worker processes die", FAR);
        watchdog.watch(&sup);
        let results = map!(0..20_000, tiny, tt = "mp", supervisor = &sup);
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(result) => assert!(result == n + 1 && !kills(n)),
                Err(TaskError::WorkerDied(_)) => assert!(kills(n), "item {n}"),
                Err(other) => panic!("{n}: {other}"),
            }
        }
    }
}

fn large(n: usize) -> Vec<u8> {
    if n % 10 == 7 {
        std::process::abort();
    }
    // More than the journal of a chunk holds, from time to time.
    vec![n as u8; if n.is_multiple_of(5) { 200_000 } else { 30_000 }]
}

#[test]
fn large_results_are_kept() {
    for sup in both(2) {
        let watchdog = Watchdog::new("a map with large results", FAR);
        watchdog.watch(&sup);
        let results = map!(0..60, large, tt = "mp", supervisor = &sup);
        for (n, result) in results.into_iter().enumerate() {
            match result {
                Ok(bytes) => assert!(n % 10 != 7 && bytes.iter().all(|byte| *byte == n as u8)),
                Err(error) => assert!(n % 10 == 7 && error.is_worker_died(), "{n}: {error}"),
            }
        }
    }
}

fn waits_at((file, n): (String, u32)) -> u32 {
    append_line(&file, &n.to_string());
    if n == 3 {
        loop {
            std::thread::park();
        }
    }
    n
}

#[test]
fn kill_from_outside_costs_the_item_that_was_running() {
    for (n, sup) in both(1).into_iter().enumerate() {
        let file = Scratch::new(&format!("map-kill-{n}"));
        let results = std::thread::scope(|s| {
            let map = s.spawn(|| {
                let items = (0..10).map(|n| (file.name().to_owned(), n));
                map!(items, waits_at, tt = "mp", supervisor = &sup)
            });
            eventually(|| file.lines().contains(&"3".to_owned()));
            signal(workers(&sup)[0], 9);
            map.join().unwrap()
        });
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(result) => assert_eq!(result, n),
                Err(error) => assert!(n == 3 && error.is_worker_died(), "{n}: {error}"),
            }
        }
        assert_eq!(file.lines().len(), 10);
    }
}

#[test]
fn kill_by_handle_cancels_the_chunk() {
    let sup = supervisor(pool_of(1));
    let file = Scratch::new("map-kill-handle");
    let results = std::thread::scope(|s| {
        let map = s.spawn(|| {
            let items = (0..4).map(|n| (file.name().to_owned(), n));
            map!(items, waits_at, tt = "mp", name = "waits", supervisor = &sup)
        });
        eventually(|| file.lines().contains(&"3".to_owned()));
        let running = sup.tasks().into_iter().find(|task| task.time_started.is_some()).unwrap();
        sup.task(running.id).unwrap().kill().unwrap();
        map.join().unwrap()
    });
    assert_eq!(results[..3], [Ok(0), Ok(1), Ok(2)]);
    assert_eq!(results[3], Err(TaskError::Canceled));
}

/// Item `first` waits for the file that the last item creates.
fn waits_for_last((file, n, first, last): (String, u32, u32, u32)) -> u32 {
    if n == last {
        append_line(&file, "there");
    }
    while n == first && !std::path::Path::new(&file).exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    n
}

#[test]
fn long_item_does_not_hold_back_the_items_behind_it() {
    // Without shared memory, a chunk is not divided while it runs.
    let sup = supervisor(pool_of(2));
    let watchdog = Watchdog::new("items that wait for others of their chunk", FAR);
    watchdog.watch(&sup);
    for first in [0, 300, 1000, 2900, 2998] {
        let file = Scratch::new(&format!("map-behind-{first}"));
        let items = (0..3000).map(|n| (file.name().to_owned(), n, first, 2999));
        let results = map!(items, waits_for_last, tt = "mp", supervisor = &sup);
        assert!(results.into_iter().map(Result::unwrap).eq(0..3000));
    }
}

fn dies_at_once(_: u32) -> u32 {
    std::process::abort()
}

#[test]
fn every_item_may_die() {
    for sup in both(2) {
        let watchdog = Watchdog::new("a map whose items all die", FAR);
        watchdog.watch(&sup);
        let results = map!(0..20, dies_at_once, tt = "mp", supervisor = &sup);
        assert!(results.iter().all(|result| result.as_ref().is_err_and(TaskError::is_worker_died)));
    }
}
