//! The bars on the screen, in the hands of the drawing thread.
//!
//! Bars are drawn in *frames*, at least [`FRAME`] apart. A frame draws the bars whose values have
//! changed and those that are animated. A new bar is drawn immediately, an ended one is cleared
//! immediately.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::bar::{Bar, ForcedDraw, Spec};
use super::display::{BarKey, DISPLAY};

/// The minimum time between two draws of a bar: ten per second.
pub(super) const FRAME: Duration = Duration::from_millis(100);

/// What the drawing thread is to do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) added: Vec<(BarKey, Spec)>,
    pub(super) ended: Vec<BarKey>,
    /// The screen is to be clear, because something else is printed.
    pub(super) suspended: bool,
}

pub(super) struct Screen {
    bars: BTreeMap<BarKey, Bar>,
    forced: Option<ForcedDraw>,
    /// Initially the start of the thread.
    last_frame: Instant,
    /// Some bars were drawn too recently for the last frame, and may have changed.
    postponed: bool,
    draws: Draws,
    suspended: bool,
}

/// Whether the screen shows the bars as they are.
///
/// indicatif draws all bars whenever one of them changes. If several change in one frame, all draws
/// but the first are superfluous, and a target that limits its rate drops them. So a draw that
/// follows another one too soon may not have happened.
#[derive(Default)]
struct Draws {
    last: Option<Instant>,
    /// The target may have dropped a draw, or was cleared.
    outdated: bool,
}

impl Draws {
    fn record(&mut self, now: Instant) {
        self.outdated = self.last.is_some_and(|last| now < last + FRAME);
        self.last = Some(now);
    }
}

impl Screen {
    pub(super) fn new() -> Screen {
        Screen {
            bars: BTreeMap::new(),
            forced: None,
            last_frame: Instant::now(),
            postponed: false,
            draws: Draws::default(),
            suspended: false,
        }
    }

    /// Adds and removes bars, and draws a frame if one is due. Calls indicatif and the draw target,
    /// which is user code.
    pub(super) fn update(&mut self, work: Work) {
        let screen = super::multi();
        if self.forced.is_none() {
            self.forced = Some(ForcedDraw::new(screen));
        }
        for key in work.ended {
            if let Some(bar) = self.bars.remove(&key) {
                bar.remove(screen, !self.suspended);
            }
        }
        if work.suspended && !self.suspended {
            // An error of the terminal can't be reported anywhere.
            let _ = screen.clear();
        }
        self.draws.outdated |= self.suspended && !work.suspended;
        self.suspended = work.suspended;
        for (key, spec) in work.added {
            let mut bar = Bar::new(spec, screen);
            if !self.suspended {
                let now = Instant::now();
                bar.draw(now);
                self.draws.record(now);
            }
            self.bars.insert(key, bar);
        }
        let now = Instant::now();
        if self.next_frame().is_some_and(|at| at <= now) {
            self.frame(now);
        }
        if self.bars.is_empty()
            && let Some(forced) = self.forced.take()
        {
            forced.remove(screen);
        }
    }

    /// Returns when the next frame is due. `None` if nothing changes without an event.
    pub(super) fn next_frame(&self) -> Option<Instant> {
        if self.suspended || !super::is_visible() {
            return None;
        }
        let is_needed = self.postponed
            || self.draws.outdated
            || DISPLAY.has_changed()
            || self.bars.values().any(Bar::is_animated);
        let first = self.bars.values().map(Bar::due).min().filter(|_| is_needed)?;
        Some(first.max(self.last_frame + FRAME))
    }

    fn frame(&mut self, now: Instant) {
        DISPLAY.take_changed();
        self.postponed = false;
        let mut is_drawn = false;
        for bar in self.bars.values_mut() {
            if bar.due() > now {
                self.postponed = true;
            } else if bar.refresh() {
                bar.draw(now);
                self.draws.record(now);
                is_drawn = true;
            }
        }
        if !is_drawn
            && std::mem::take(&mut self.draws.outdated)
            && let Some(forced) = &self.forced
        {
            forced.draw();
            self.draws.last = Some(now);
        }
        self.last_frame = now;
    }
}
