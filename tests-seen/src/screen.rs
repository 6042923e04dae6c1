//! A terminal in memory.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atasker::progress::indicatif::{InMemoryTerm, ProgressDrawTarget, TermLike};
use atasker::progress::set_draw_target;

/// The target is one for the whole program.
static ALONE: Mutex<()> = Mutex::new(());

/// The terminal that shows all bars of this program until it is dropped. One test at a time has it.
pub struct Screen {
    term: Recorder,
    _alone: MutexGuard<'static, ()>,
}

impl Screen {
    pub const COLUMNS: u16 = 80;

    pub fn new() -> Screen {
        Self::with_target(Recorder::target)
    }

    /// A terminal whose target limits the rate of draws, after a burst of twenty.
    pub fn with_hz(hz: u8) -> Screen {
        Self::with_target(|term| ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), hz))
    }

    fn with_target(target: impl FnOnce(&Recorder) -> ProgressDrawTarget) -> Screen {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let term = Recorder::new(Self::COLUMNS);
        set_draw_target(target(&term));
        Screen { term, _alone: alone }
    }

    /// The visible text.
    pub fn text(&self) -> String {
        self.term.text()
    }

    pub fn shows(&self, text: &str) -> bool {
        self.text().contains(text)
    }

    pub fn is_clear(&self) -> bool {
        self.text().is_empty()
    }

    /// The number of draws so far.
    pub fn draws(&self) -> u32 {
        self.term.draws.load(Ordering::Relaxed)
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// A terminal in memory that counts how often it is drawn to.
#[derive(Clone, Debug)]
pub struct Recorder {
    term: InMemoryTerm,
    draws: Arc<AtomicU32>,
}

impl Recorder {
    pub fn new(columns: u16) -> Recorder {
        Recorder { term: InMemoryTerm::new(24, columns), draws: Arc::default() }
    }

    /// A target that draws to this terminal, without a limit on the rate.
    pub fn target(&self) -> ProgressDrawTarget {
        ProgressDrawTarget::term_like(Box::new(self.clone()))
    }

    /// The visible text.
    pub fn text(&self) -> String {
        self.term.contents()
    }
}

impl TermLike for Recorder {
    fn width(&self) -> u16 {
        self.term.width()
    }
    fn height(&self) -> u16 {
        self.term.height()
    }
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_up(n)
    }
    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }
    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }
    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.term.write_line(text)
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.term.write_str(text)
    }
    fn clear_line(&self) -> io::Result<()> {
        self.term.clear_line()
    }
    fn flush(&self) -> io::Result<()> {
        // The last call of each draw.
        self.draws.fetch_add(1, Ordering::Relaxed);
        self.term.flush()
    }
}
