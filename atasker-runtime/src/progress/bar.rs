//! One bar: what it counts, and how that looks.

use std::borrow::Cow;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState};
use indicatif::{ProgressStyle, style::TemplateError};

use super::meter::Counter;
use super::screen::FRAME;
use crate::info::{Progress, TaskType};
use crate::task::TaskArc;
use crate::task::arc::TaskWeak;
use crate::task::header;

/// What a new bar is to show.
pub(super) struct Spec {
    pub(super) label: Cow<'static, str>,
    pub(super) source: Source,
}

/// Where the numbers of a bar come from.
pub(super) enum Source {
    /// The number of ended tasks, of all. Without a total if it is not known.
    Ended { counter: Arc<Counter>, total: Option<u64> },
    /// What a task reports.
    ///
    /// Weak, so that a bar does not prolong the life of a task, nor of what its function has
    /// captured.
    Task {
        task: TaskWeak,
        /// The task runs in a worker process.
        is_remote: bool,
    },
}

/// The values that a bar shows.
#[derive(PartialEq, Default)]
struct Values {
    done: u64,
    total: Option<u64>,
    message: Option<String>,
}

/// The layouts.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Bar,
    BarAndMessage,
    Rate,
    Spinner,
    SpinnerAndCount,
}

/// A bar on the screen. Used by the drawing thread only.
pub(super) struct Bar {
    /// Not dropped after a panic of the draw target: its destructor draws, would panic because of
    /// indicatif's poisoned lock, and abort the program if that happens while unwinding.
    bar: ManuallyDrop<ProgressBar>,
    source: Source,
    /// The values of the last draw.
    values: Values,
    layout: Layout,
    created: Instant,
    /// When it was last drawn. `None` if the screen was suspended since it was created.
    drawn: Option<Instant>,
}

impl Bar {
    /// Creates a bar below the others, without drawing it.
    pub(super) fn new(spec: Spec, screen: &MultiProgress) -> Bar {
        let Spec { label, source } = spec;
        let values = source.values().unwrap_or_default();
        let layout = source.layout(&values);
        let hidden = ProgressBar::with_draw_target(values.total, ProgressDrawTarget::hidden())
            .with_prefix(printable(&label, Escapes::Keep));
        let bar = ManuallyDrop::new(screen.add(hidden));
        bar.set_style(layout.style());
        Bar { bar, source, values, layout, created: Instant::now(), drawn: None }
    }

    /// Removes the bar from the screen. `visible` is false while the screen is cleared for other
    /// output, which must not be drawn over.
    pub(super) fn remove(self, screen: &MultiProgress, visible: bool) {
        if visible {
            self.bar.finish_and_clear();
        }
        // Without this, the screen keeps the entry of a bar until all bars above it have gone.
        screen.remove(&self.bar);
        drop(ManuallyDrop::into_inner(self.bar));
    }

    /// Returns whether the bar changes without an event: the spinner turns, and the progress of a
    /// task in a worker process is in memory that it shares with the program.
    pub(super) fn is_animated(&self) -> bool {
        self.layout.has_spinner() || matches!(self.source, Source::Task { is_remote: true, .. })
    }

    /// Returns when the bar can be drawn again.
    pub(super) fn due(&self) -> Instant {
        self.drawn.map_or(self.created, |drawn| drawn + FRAME)
    }

    /// Reads the current values. Returns whether the bar looks different with them.
    pub(super) fn refresh(&mut self) -> bool {
        match self.source.values() {
            Some(values) if values != self.values => {
                self.values = values;
                true
            }
            _ => self.layout.has_spinner() || self.drawn.is_none(),
        }
    }

    /// Draws the bar, unless the draw target limits the rate.
    pub(super) fn draw(&mut self, now: Instant) {
        let layout = self.source.layout(&self.values);
        if self.layout != layout {
            self.layout = layout;
            self.bar.set_style(layout.style());
        }
        // This sets the message without a draw, which `set_message` includes.
        let message = self.values.message.clone().unwrap_or_default();
        drop(ProgressBar::clone(&self.bar).with_message(message));
        let Values { done, total, .. } = self.values;
        self.bar.update(|state| {
            state.set_pos(done);
            if let Some(total) = total {
                state.set_len(total);
            }
        });
        self.drawn = Some(now);
    }
}

/// Draws all bars, even if the target limits the rate of draws.
///
/// It is a bar without any text. indicatif always draws when a finished bar is ticked.
pub(super) struct ForcedDraw(ManuallyDrop<ProgressBar>);

impl ForcedDraw {
    pub(super) fn new(screen: &MultiProgress) -> ForcedDraw {
        let empty = ProgressStyle::with_template("").expect("an empty template is valid");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let bar = bar.with_style(empty);
        // While it is hidden, because this draws.
        bar.abandon();
        ForcedDraw(ManuallyDrop::new(screen.add(bar)))
    }

    pub(super) fn draw(&self) {
        self.0.tick();
    }

    pub(super) fn remove(self, screen: &MultiProgress) {
        screen.remove(&self.0);
        drop(ManuallyDrop::into_inner(self.0));
    }
}

impl Source {
    pub(super) fn task(task: &TaskArc) -> Source {
        Source::Task {
            task: task.downgrade(),
            is_remote: matches!(task.header().tt, TaskType::Mp | TaskType::Remote),
        }
    }

    /// Returns the current values. `None` for a task that has reported nothing, or is gone.
    fn values(&self) -> Option<Values> {
        match self {
            Source::Ended { counter, total } => {
                Some(Values { done: counter.done(), total: *total, message: None })
            }
            Source::Task { task, .. } => {
                let task = task.upgrade()?;
                header::refresh(&*task);
                let Progress { done, total, message } = task.header().progress()?;
                let message = message.map(|text| printable(&text, Escapes::Replace));
                Some(Values { done, total: (total > 0).then_some(total), message })
            }
        }
    }

    fn layout(&self, values: &Values) -> Layout {
        match (self, values) {
            (_, Values { total: Some(_), message: None, .. }) => Layout::Bar,
            (_, Values { total: Some(_), .. }) => Layout::BarAndMessage,
            (Source::Ended { .. }, _) => Layout::Rate,
            (Source::Task { .. }, Values { done: 0, .. }) => Layout::Spinner,
            (Source::Task { .. }, _) => Layout::SpinnerAndCount,
        }
    }
}

impl Layout {
    fn has_spinner(self) -> bool {
        matches!(self, Layout::Rate | Layout::Spinner | Layout::SpinnerAndCount)
    }

    fn style(self) -> ProgressStyle {
        let template = match self {
            Layout::Bar => "{prefix} {wide_bar} {pos}/{len}{left}",
            // `wide_msg` cuts the message off at the width of the terminal.
            Layout::BarAndMessage => "{prefix} {bar:24} {pos}/{len}{left} {wide_msg}",
            Layout::Rate => "{spinner} {prefix} {pos} ({rate}/s)",
            Layout::Spinner => "{spinner} {prefix} {wide_msg}",
            Layout::SpinnerAndCount => "{spinner} {prefix} {pos} {wide_msg}",
        };
        let style: Result<ProgressStyle, TemplateError> = ProgressStyle::with_template(template);
        let style = style.expect("the templates are valid");
        style.with_key("left", write_time_left).with_key("rate", write_rate)
    }
}

/// Writes the estimated time to the end. Writes nothing if there is no sensible estimate: the rate is
/// nearly zero after a long time without progress.
fn write_time_left(state: &ProgressState, out: &mut dyn fmt::Write) {
    const SENSIBLE: Range<Duration> = Duration::from_secs(1)..Duration::from_secs(3_600_000);
    let left = state.eta();
    if SENSIBLE.contains(&left) {
        let _ = write!(out, " {:#} left", HumanDuration(left));
    }
}

/// Writes the number of steps per second.
fn write_rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    let rate = state.per_sec();
    let decimals = if rate < 10.0 { 1 } else { 0 };
    let _ = write!(out, "{rate:.decimals$}");
}

#[derive(Clone, Copy, PartialEq)]
enum Escapes {
    Keep,
    Replace,
}

/// Replaces control characters, which would break the layout. The text of a task may come from
/// anywhere, and must not control the terminal; a label is the program's own, and may be styled by
/// escape sequences.
fn printable(text: &str, escapes: Escapes) -> String {
    /// No terminal is wider.
    const MAX_CHARS: usize = 1000;
    let is_kept = |c: char| !c.is_control() || (escapes == Escapes::Keep && c == '\x1b');
    text.chars().take(MAX_CHARS).map(|c| if is_kept(c) { c } else { ' ' }).collect()
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_task_can_not_control_the_terminal() {
        assert_eq!(printable("a\nb\r\x1b[2Jc\td", Escapes::Replace), "a b  [2Jc d");
        assert_eq!(printable("\x1b[1mlabel\x1b[0m\n\0", Escapes::Keep), "\x1b[1mlabel\x1b[0m  ");
        assert_eq!(printable(&"x".repeat(5000), Escapes::Replace).len(), 1000);
    }
}
