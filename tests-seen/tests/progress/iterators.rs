//! What are the bars of `as_completed`, `bounded` and `bounded_by`, also as streams?

use std::panic::{AssertUnwindSafe, catch_unwind};

use atasker::{Task, TaskBuilder, as_completed, bounded, bounded_by};
use atasker_tests::{Gate, eventually};
use atasker_tests_seen::screen::Screen;

use crate::{gated, unlimited};

#[test]
fn as_completed_counts_ended_tasks_of_all() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..3).map(|n| gated(&sup, n)).unzip();
    let mut outcomes = as_completed(tasks).progress("hashing");
    assert!(screen.shows("hashing") && screen.shows("0/3"), "{}", screen.text());
    for n in [2, 0, 1] {
        gates[n].open();
        let (index, outcome) = outcomes.next().unwrap();
        assert_eq!((index, outcome.unwrap()), (n, n));
        let done = gates.iter().filter(|gate| gate.is_open()).count();
        eventually(|| screen.shows(&format!("{done}/3")));
    }
    assert!(outcomes.next().is_none());
    assert!(screen.is_clear(), "{}", screen.text());
    assert!(outcomes.next().is_none());
}

#[test]
fn as_completed_counts_tasks_whose_outcomes_are_not_yet_returned() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..3).map(|n| gated(&sup, n)).unzip();
    let outcomes = as_completed(&tasks).progress(String::from("hashing"));
    gates[..2].iter().for_each(|gate| gate.open());
    eventually(|| screen.shows("2/3"));
    drop(outcomes);
    assert!(screen.is_clear(), "{}", screen.text());
    gates[2].open();
    assert_eq!(as_completed(tasks).progress("again").count(), 3);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn progress_in_the_middle_includes_what_was_returned_before() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..3).map(|n| gated(&sup, n)).unzip();
    let mut outcomes = as_completed(tasks);
    gates[0].open();
    assert!(outcomes.next().is_some());
    let outcomes = outcomes.progress("late");
    assert!(screen.shows("1/3"), "{}", screen.text());
    // A second call replaces the bar.
    let outcomes = outcomes.progress("later");
    let text = screen.text();
    assert!(text.contains("later") && text.contains("1/3") && text.lines().count() == 1, "{text}");
    gates.iter().for_each(|gate| gate.open());
    assert_eq!(outcomes.count(), 2);
    assert!(screen.is_clear(), "{}", screen.text());
}

/// Builders of tasks that wait for their gate.
fn builders(gates: &[Gate]) -> impl ExactSizeIterator<Item = TaskBuilder<()>> {
    gates.iter().cloned().map(|gate| TaskBuilder::new(move || gate.wait()))
}

#[test]
fn bounded_shows_a_total_if_the_number_of_builders_is_known() {
    let screen = Screen::new();
    let gates: Vec<Gate> = (0..4).map(|_| Gate::new()).collect();
    let mut outcomes = bounded(2, builders(&gates)).progress("hashing");
    // Before any task is launched.
    assert!(screen.shows("hashing") && screen.shows("0/4"), "{}", screen.text());
    for (n, gate) in gates.iter().enumerate() {
        gate.open();
        assert_eq!(outcomes.next().unwrap().0, n);
        eventually(|| screen.shows(&format!("{}/4", n + 1)));
    }
    assert!(outcomes.next().is_none());
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn bounded_by_shows_the_bar_of_bounded() {
    let screen = Screen::new();
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let keyed = builders(&gates).enumerate().map(|(n, builder)| (n * 10, builder));
    let mut outcomes = bounded_by(2, keyed).progress("with keys");
    assert!(screen.shows("with keys") && screen.shows("0/3"), "{}", screen.text());
    for (n, gate) in gates.iter().enumerate() {
        gate.open();
        assert_eq!(outcomes.next().unwrap().0, n * 10);
        eventually(|| screen.shows(&format!("{}/3", n + 1)));
    }
    assert!(outcomes.next().is_none());
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn stream_keeps_the_bar() {
    use futures_lite::{StreamExt, future::block_on};
    let (sup, screen) = (unlimited(), Screen::new());
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let mut stream = bounded(2, builders(&gates)).progress("streaming").into_stream();
    for (n, gate) in gates.iter().enumerate() {
        gate.open();
        assert_eq!(block_on(stream.next()).unwrap().0, n);
        eventually(|| screen.shows(&format!("{}/3", n + 1)));
    }
    assert!(block_on(stream.next()).is_none());
    assert!(screen.is_clear(), "{}", screen.text());
    let tasks: Vec<Task<usize>> = (0..2).map(|n| sup.spawn(move || n)).collect();
    let mut stream = as_completed(tasks).progress("ending").into_stream();
    assert!(block_on(stream.next()).is_some() && screen.shows("ending"));
    drop(stream);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn bounded_shows_a_rate_if_the_number_of_builders_is_unknown() {
    let screen = Screen::new();
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let mut outcomes = bounded(2, builders(&gates).filter(|_| true)).progress("hashing");
    assert!(screen.shows("hashing 0 (0.0/s)"), "{}", screen.text());
    gates[0].open();
    gates[1].open();
    assert!(outcomes.next().is_some());
    assert!(outcomes.next().is_some());
    eventually(|| screen.shows("hashing 2 ("));
    let text = screen.text();
    assert!(text.contains("/s)") && !text.contains("/3"), "{text}");
    // A spinner turns while nothing happens.
    let before = screen.text();
    eventually(|| screen.text() != before && screen.shows("hashing 2 ("));
    gates[2].open();
    assert_eq!(outcomes.count(), 1);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn dropping_an_iterator_early_clears_its_bar() {
    let screen = Screen::new();
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    gates[0].open();
    let mut outcomes = bounded(3, builders(&gates)).progress("bounded");
    assert!(outcomes.next().is_some());
    assert!(screen.shows("bounded"));
    drop(outcomes);
    assert!(screen.is_clear(), "{}", screen.text());
    gates.iter().for_each(|gate| gate.open());
    eventually(|| !crate::draws());
}

#[test]
fn panic_in_the_loop_clears_the_bar() {
    let (sup, screen) = (unlimited(), Screen::new());
    let tasks: Vec<Task<u32>> = (0..3).map(|n| sup.spawn(move || n)).collect();
    let process = || {
        for (index, _) in as_completed(tasks).progress("panics") {
            assert!(screen.shows("panics"), "{}", screen.text());
            assert!(index > 3, "expected");
        }
    };
    assert!(catch_unwind(AssertUnwindSafe(process)).is_err());
    assert!(screen.is_clear(), "{}", screen.text());
}
