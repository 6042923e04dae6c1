//! How often are bars drawn, and what does it take?

use std::time::{Duration, Instant};

use atasker::{PoolConfig, Supervisor, TaskBuilder, TaskContext, bounded};
use atasker_tests::{FAR, eventually};
use atasker_tests_seen::screen::Screen;

use crate::{gated, unlimited};

/// Asserts that there were at most ten draws per second, apart from the first, and from the last,
/// which clears the bar. Not per interval, because a busy machine delays single draws.
fn assert_at_most_ten_per_second(screen: &Screen, begun: Instant) {
    let (draws, took) = (screen.draws(), begun.elapsed());
    assert!(draws as f64 <= 2.0 + 10.0 * took.as_secs_f64(), "{draws} draws in {took:?}");
}

#[test]
fn frequent_reports_are_drawn_at_most_ten_times_a_second() {
    let begun = Instant::now();
    let (sup, screen) = (unlimited(), Screen::new());
    let task = TaskBuilder::with_context(|ctx: &TaskContext| {
        let mut n = 0;
        while !ctx.stopped() {
            n += 1;
            ctx.progress(n, u64::MAX);
        }
        n
    });
    let task = task.supervisor(&sup).start().show_progress("busy");
    eventually(|| screen.draws() > 25);
    task.stop();
    assert!(task.join().unwrap() > 25);
    assert_at_most_ten_per_second(&screen, begun);
}

#[test]
fn frequent_ends_are_drawn_at_most_ten_times_a_second() {
    let begun = Instant::now();
    let screen = Screen::new();
    let end = Instant::now() + FAR;
    let enough = || screen.draws() > 25 || Instant::now() > end;
    let builders = std::iter::from_fn(|| (!enough()).then(|| TaskBuilder::new(|| ())));
    assert!(bounded(8, builders).progress("busy").count() > 100);
    assert!(screen.draws() > 25);
    assert_at_most_ten_per_second(&screen, begun);
}

#[test]
fn last_change_is_drawn() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, waits) = (atasker_tests::Gate::new(), atasker_tests::Gate::new());
    let waits_too = waits.clone();
    let opens = gate.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        (0..=1000).for_each(|n| ctx.progress(n, 1000));
        opens.open();
        waits_too.wait();
    });
    let task = task.supervisor(&sup).start().show_progress("quick");
    gate.wait();
    eventually(|| screen.shows("1000/1000"));
    waits.open();
    task.join().unwrap();
}

/// Seven tasks report the same progress several times over. Each time, all bars show it.
fn assert_last_changes_are_drawn(screen: &Screen) {
    let sup = unlimited();
    let counts = |n: u64| {
        TaskBuilder::with_context(|ctx: &TaskContext<u64>| {
            while let Ok(n) = ctx.recv() {
                ctx.progress(n, 9);
            }
        })
        .supervisor(&sup)
        .start()
        .show_progress(format!("task {n}"))
    };
    let tasks: Vec<_> = (0..7).map(counts).collect();
    for n in 1..6 {
        tasks.iter().for_each(|task| task.send(n).unwrap());
        eventually(|| screen.text().matches(&format!(" {n}/9")).count() == tasks.len());
    }
    tasks.iter().for_each(|task| task.stop());
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn last_changes_of_several_bars_are_drawn() {
    assert_last_changes_are_drawn(&Screen::new());
}

#[test]
fn last_changes_are_drawn_to_a_target_that_limits_its_rate() {
    assert_last_changes_are_drawn(&Screen::with_hz(10));
}

#[test]
fn bar_with_a_total_is_not_drawn_without_an_event() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..2).map(|n| gated(&sup, n)).unzip();
    let outcomes = atasker::as_completed(tasks).progress("quiet");
    gates[0].open();
    eventually(|| screen.shows("1/2"));
    // The frame after that of a change may draw again.
    let settled = Duration::from_millis(500);
    std::thread::sleep(settled);
    let drawn = screen.draws();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(screen.draws(), drawn);
    gates[1].open();
    drop(outcomes);
}

#[test]
fn drawing_thread_exists_only_while_there_are_bars() {
    let (sup, _screen) = (unlimited(), Screen::new());
    eventually(|| !crate::draws());
    let (gate, task) = gated(&sup, 1);
    let task = task.show_progress("thread");
    assert!(crate::draws());
    gate.open();
    task.join().unwrap();
    eventually(|| !crate::draws());
}

#[test]
fn many_tasks_are_counted_and_cleared() {
    let screen = Screen::new();
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    let builders = (0..100_000).map(|n| TaskBuilder::new(move || n).supervisor(&sup));
    let sum: u64 = bounded(256, builders).progress("many").map(|(_, n)| n.unwrap()).sum();
    assert_eq!(sum, 99_999 * 50_000);
    assert!(screen.is_clear(), "{}", screen.text());
}
