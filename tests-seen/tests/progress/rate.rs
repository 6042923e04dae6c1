//! How often are bars drawn, and what does it take?

use std::time::{Duration, Instant};

use atasker::{PoolConfig, Supervisor, TaskBuilder, TaskContext, bounded};
use atasker_tests::{FAR, eventually};
use atasker_tests_seen::screen::Screen;

use crate::{gated, unlimited};

/// Asserts that there are no more than ten draws within any second, apart from the last, which
/// clears the bar. The clock is read a moment after the draw, hence the tolerance.
fn assert_at_most_ten_per_second(draws: &[Instant]) {
    let (_, draws) = draws.split_last().unwrap();
    for window in draws.windows(11) {
        let took = window[10] - window[0];
        assert!(took > Duration::from_millis(900), "11 draws within {took:?}");
    }
}

#[test]
fn frequent_reports_are_drawn_at_most_ten_times_a_second() {
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
    eventually(|| screen.draws().len() > 25);
    task.stop();
    assert!(task.join().unwrap() > 25);
    assert_at_most_ten_per_second(&screen.draws());
}

#[test]
fn frequent_ends_are_drawn_at_most_ten_times_a_second() {
    let screen = Screen::new();
    let end = Instant::now() + FAR;
    let enough = || screen.draws().len() > 25 || Instant::now() > end;
    let builders = std::iter::from_fn(|| (!enough()).then(|| TaskBuilder::new(|| ())));
    assert!(bounded(8, builders).progress("busy").count() > 100);
    assert!(screen.draws().len() > 25);
    assert_at_most_ten_per_second(&screen.draws());
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

#[test]
fn last_changes_of_several_bars_are_drawn() {
    let (sup, screen) = (unlimited(), Screen::new());
    let counts = |n: u64| {
        TaskBuilder::with_context(move |ctx: &TaskContext<()>| {
            while ctx.recv().is_ok() {
                ctx.progress(n, 9);
            }
        })
        .supervisor(&sup)
        .start()
        .show_progress(format!("task {n}"))
    };
    let tasks: Vec<_> = (1..8).map(counts).collect();
    tasks.iter().for_each(|task| task.send(()).unwrap());
    eventually(|| (1..8).all(|n| screen.shows(&format!("{n}/9"))));
    tasks.iter().for_each(|task| task.stop());
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert!(screen.is_clear(), "{}", screen.text());
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
    let drawn = screen.draws().len();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(screen.draws().len(), drawn);
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
fn progress_of_a_million_tasks_costs_little() {
    let screen = Screen::new();
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    let builders = (0..100_000).map(|n| TaskBuilder::new(move || n).supervisor(&sup));
    let sum: u64 = bounded(256, builders).progress("many").map(|(_, n)| n.unwrap()).sum();
    assert_eq!(sum, 99_999 * 50_000);
    assert!(screen.is_clear(), "{}", screen.text());
}
