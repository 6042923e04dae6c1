//! May a draw target, which is user code, use the library and take its time?

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use atasker::progress::indicatif::{ProgressDrawTarget, TermLike};
use atasker::progress::{multi, set_draw_target};
use atasker::{Supervisor, as_completed, wait_completed};
use atasker_tests::{FAR, Gate, eventually};
use atasker_tests_seen::screen::Screen;

use crate::{gated, unlimited};

/// Calls a function for each draw.
struct Calls<F>(F);

impl<F> std::fmt::Debug for Calls<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Calls")
    }
}

impl<F: Fn() + Send + Sync> TermLike for Calls<F> {
    fn width(&self) -> u16 {
        80
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn write_str(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        (self.0)();
        Ok(())
    }
}

fn target(f: impl Fn() + Send + Sync + 'static) -> ProgressDrawTarget {
    ProgressDrawTarget::term_like(Box::new(Calls(f)))
}

#[test]
fn target_may_launch_and_wait() {
    let (sup, _screen) = (unlimited(), Screen::new());
    let calls = Arc::new(AtomicU32::new(0));
    let (counted, inner) = (Arc::clone(&calls), sup.clone());
    set_draw_target(target(move || {
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            // These bars are added and removed by the drawing thread itself.
            let task = inner.spawn(|| 1).show_progress("inner");
            assert_eq!(wait_completed!(task, progress = "inner").unwrap(), 1);
        }
    }));
    assert_eq!(wait_completed!(sup.spawn(|| 2), progress = "outer").unwrap(), 2);
    eventually(|| !crate::draws());
    assert!(calls.load(Ordering::Relaxed) > 1);
}

#[test]
fn blocked_terminal_delays_no_task() {
    let (sup, _screen) = (unlimited(), Screen::new());
    let unblocked = Gate::new();
    let blocks = unblocked.clone();
    set_draw_target(target(move || blocks.wait()));
    let (begun, begins) = mpsc::channel();
    let begun = Mutex::new(begun);
    // The wait itself goes on after a time limit.
    let task = sup.spawn(move || begun.lock().unwrap().send(()).unwrap());
    wait_completed!(task, progress = "blocked", timeout = FAR).unwrap();
    begins.recv_timeout(FAR).unwrap();
    // Time limits are on time: the timer does not draw.
    let (gate, slow) = gated(&sup, 1);
    let limited = slow.show_progress("blocked too");
    assert!(limited.wait_timeout(Duration::from_millis(50)).is_err());
    gate.open();
    limited.join().unwrap();
    unblocked.open();
}

#[test]
fn wait_within_suspend_goes_on() {
    let (sup, screen) = (unlimited(), Screen::new());
    let value = multi().suspend(|| wait_completed!(sup.spawn(|| 3), progress = "suspended"));
    assert_eq!(value.unwrap(), 3);
    // The drawing thread recovers.
    let other = Supervisor::builder().build();
    let (gate, task) = gated(&other, 1);
    let outcomes = as_completed([&task]).progress("afterwards");
    eventually(|| screen.shows("afterwards"));
    gate.open();
    drop(outcomes);
    assert!(screen.is_clear(), "{}", screen.text());
}
