//! Where are bars drawn?

use atasker::progress::indicatif::{ProgressBar, ProgressDrawTarget};
use atasker::progress::{multi, set_draw_target};
use atasker::{as_completed, wait_completed};
use atasker_tests::eventually;
use atasker_tests_seen::screen::{Recorder, Screen};

use crate::{gated, unlimited};

#[test]
fn line_is_printed_above_the_bars() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, 1);
    let outcomes = as_completed([&task]).progress("below");
    multi().println("above").unwrap();
    let text = screen.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("above", 2), "{text}");
    assert!(lines[1].starts_with("below") && lines[1].ends_with("0/1"), "{text}");
    gate.open();
    assert_eq!(outcomes.count(), 1);
    assert_eq!(screen.text(), "above");
}

#[test]
fn bars_of_the_program_share_the_screen() {
    let (sup, screen) = (unlimited(), Screen::new());
    let own = multi().add(ProgressBar::new(7));
    own.tick();
    let (gate, task) = gated(&sup, 1);
    let outcomes = as_completed([&task]).progress("library");
    own.inc(1);
    own.tick();
    assert!(screen.shows("1/7") && screen.shows("library"), "{}", screen.text());
    gate.open();
    drop(outcomes);
    assert!(screen.shows("1/7") && !screen.shows("library"), "{}", screen.text());
    own.finish_and_clear();
    multi().remove(&own);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn visible_bars_move_to_another_target() {
    let (sup, first) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..2).map(|n| gated(&sup, n)).unzip();
    let outcomes = as_completed(&tasks).progress("moving");
    assert!(first.shows("moving"));
    let second = Recorder::new(60);
    set_draw_target(second.target());
    assert!(first.is_clear(), "{}", first.text());
    eventually(|| second.text().contains("0/2"));
    gates[0].open();
    eventually(|| second.text().contains("1/2"));
    set_draw_target(ProgressDrawTarget::hidden());
    assert_eq!(second.text(), "");
    gates[1].open();
    assert_eq!(outcomes.count(), 2);
    assert_eq!((first.text(), second.text()), (String::new(), String::new()));
}

#[test]
fn hidden_target_costs_no_thread() {
    let (sup, screen) = (unlimited(), Screen::new());
    set_draw_target(ProgressDrawTarget::hidden());
    eventually(|| !crate::draws());
    let (gate, task) = gated(&sup, 1);
    let task = task.show_progress("hidden");
    let outcomes = as_completed([&task]).progress("hidden");
    let waiter = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_completed!(&task, progress = "hidden").copied());
        assert!(!crate::draws());
        gate.open();
        waiter.join().unwrap()
    });
    assert_eq!(waiter.unwrap(), 1);
    assert_eq!(outcomes.count(), 1);
    assert_eq!(screen.draws(), 0);
}
