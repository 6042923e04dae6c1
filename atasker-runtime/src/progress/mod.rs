//! Progress bars in the terminal.
//!
//! | bar | shows |
//! |---|---|
//! | `wait_completed!(tasks, progress = "indexing")`, also `wait_settled!` | the tasks that have ended, of all |
//! | [`as_completed(tasks).progress("hashing")`](crate::AsCompleted::progress) | the same |
//! | [`bounded(n, builders).progress("hashing")`](crate::Bounded::progress), also `bounded_by` | the same; a rate if the number of builders is unknown |
//! | [`task.show_progress("indexing")`](crate::Task::show_progress) | what the task reports |
//!
//! A label is a `&'static str` or a `String`. A bar shows the label, `done/total` and the estimated
//! time left. Without a total, it is a spinner. A bar appears before the call returns, or before the
//! wait begins. It is redrawn at most ten times per second. At its end it is cleared, also after a
//! timeout or a panic, and when the program exits.
//!
//! Bars are drawn to stderr if that is a terminal. [`set_draw_target`] selects another target. If
//! the target is hidden, bars cost nothing. Worker processes and forks of the program never draw.
//!
//! ```
//! # use atasker_runtime as atasker;
//! use atasker::{Supervisor, progress, wait_completed};
//! use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sup = Supervisor::builder().build();
//! let tasks: Vec<_> = (0..100_u64).map(|n| sup.spawn(move || n * n)).collect();
//! progress::multi().println("a line above the bars")?;
//! let squares = wait_completed!(tasks, progress = "squaring", timeout = Duration::from_secs(60))?;
//! assert_eq!(squares[9], 81);
//! # Ok(()) }
//! ```
//!
//! # Other output
//!
//! Several bars are drawn below each other, from the line of the cursor on. Print other lines
//! through [`multi`], and complete a partial line before a bar begins. While a panic is reported,
//! the bars are taken off the screen. What a worker process prints to the terminal is not
//! coordinated with the bars: see `WorkerStdio::Log`. Neither is the terminal's echo of keys such as
//! Ctrl-C, which can leave a line of a bar on the screen. A program that is ended by a signal leaves
//! its bars there.
//!
//! # Cost
//!
//! A thread named `atasker bars` draws while there are bars. It sleeps until an event changes one (a
//! task has ended, a task has reported progress). In addition, it turns spinners and reads the
//! progress of tasks in worker processes ten times per second. Tasks never wait for the terminal. A
//! call that shows or ends a bar waits until it is drawn or cleared, but for at most two seconds if
//! the terminal is blocked (Ctrl-S).
// For contributors: `waits` has the calls that create a bar, `meter` counts ended tasks, `display`
// has the table of bars and the drawing thread, `screen` and `bar` belong to that thread.

mod bar;
mod display;
mod meter;
mod screen;
pub(crate) mod waits;

use std::sync::atomic::{AtomicU8, Ordering};

/// The crate that draws the bars, so that a program needs no dependency of a matching version.
pub use indicatif;
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::fork;
use crate::id::TaskId;
use crate::sys::entry;
use crate::sys::once::Once;
use crate::unwind::{guarded, log};
use display::DISPLAY;

pub(crate) use meter::Meter;

/// Whether bars are visible.
static VISIBLE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

static MULTI: Once<MultiProgress> = Once::new();

/// Returns the container of all bars, to print above them.
///
/// [`println`](MultiProgress::println) prints a line above the bars, and nothing if bars are not
/// visible. [`suspend`](MultiProgress::suspend) calls a function while the bars are off the screen,
/// for output to stdout or stderr that must appear in any case. A program can
/// [`add`](MultiProgress::add) its own bars, which share the screen with those of the library.
///
/// Do not wait for tasks within the function that is passed to `suspend`, because no bar can be
/// drawn or cleared meanwhile. Use [`set_draw_target`] of this module instead of the method of that
/// name, which the library does not notice.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::progress;
/// progress::multi().suspend(|| println!("found 3 files"));
/// ```
pub fn multi() -> &'static MultiProgress {
    MULTI.get_or_init(|| {
        let target = default_target();
        let visible = if target.is_hidden() { NO } else { YES };
        let set = Ordering::Relaxed;
        let _ = VISIBLE.compare_exchange(UNKNOWN, visible, set, set);
        MultiProgress::with_draw_target(target)
    })
}

/// Stderr, if it is a terminal.
fn default_target() -> ProgressDrawTarget {
    /// indicatif draws all bars whenever one changes. If several change in one frame, all draws but
    /// the first are superfluous, and a limit drops them. A little more than the number of frames,
    /// so that the first draw of a frame is never early.
    const DRAWS_PER_SECOND: u8 = 12;
    match may_draw() {
        true => ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND),
        false => ProgressDrawTarget::hidden(),
    }
}

/// Returns whether this process may draw: it is neither a worker process nor a fork.
fn may_draw() -> bool {
    !entry::is_worker() && !fork::is_copy()
}

/// Draws all bars to `target` from now on, instead of stderr.
///
/// The target decides whether bars are visible. A hidden target hides them. A target created by
/// [`term_like`](ProgressDrawTarget::term_like) shows them without a terminal. If the target limits
/// the rate of draws, that limit applies in addition. Visible bars move to the new target. Bars that
/// were created while the target was hidden don't appear. In a worker process, this function has no
/// effect.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::progress::{self, indicatif::ProgressDrawTarget};
/// // For `--quiet`.
/// progress::set_draw_target(ProgressDrawTarget::hidden());
/// ```
pub fn set_draw_target(target: ProgressDrawTarget) {
    if !may_draw() {
        return;
    }
    if DISPLAY.is_broken() {
        log!(error, "the draw target can't be replaced, because it has panicked");
        return;
    }
    let multi = multi();
    let visible = if target.is_hidden() { NO } else { YES };
    DISPLAY.suspended(|| {
        // Drops the old target, which is user code.
        guarded(|| multi.set_draw_target(target));
        VISIBLE.store(visible, Ordering::Relaxed);
    });
}

/// Returns whether bars are visible.
fn is_visible() -> bool {
    if VISIBLE.load(Ordering::Relaxed) == UNKNOWN {
        multi();
    }
    VISIBLE.load(Ordering::Relaxed) == YES && may_draw()
}

/// Called when a task has reported progress.
#[inline]
pub(crate) fn report_changed() {
    if DISPLAY.has_task_bars() {
        DISPLAY.set_changed();
    }
}

/// Called when a waiter has noticed the end of a task: clears its bar before the waiter goes on.
/// Takes a function, because the id is behind a virtual call, which most waits save.
#[inline]
pub(crate) fn end_of(task: impl FnOnce() -> TaskId) {
    if DISPLAY.has_task_bars() {
        DISPLAY.remove_task(task());
    }
}

/// Calls a wait with a progress bar: `[function] label, arguments`.
#[doc(hidden)]
#[macro_export]
macro_rules! __wait_with_progress {
    ([$f:ident] $label:expr, $($argument:expr),+) => {
        $crate::__private::progress::$f($($argument,)+ $label)
    };
}
