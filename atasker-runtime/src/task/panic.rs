//! Panics of tasks: caught, with message, place and backtrace.
//!
//! The place is known only to the panic hook, so one is installed at the first task. It passes
//! everything on to the hook that it found.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use crate::error::TaskError;

thread_local! {
    /// How deep this thread is in [`catch`].
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// What the hook saw of the panic under way.
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

struct Seen {
    location: Option<String>,
    backtrace: Option<String>,
}

fn install_hook() {
    static ONCE: Once = Once::new();
    // `take_hook` panics on a panicking thread, where a destructor may run a task. The next task
    // installs it then.
    if ONCE.is_completed() || std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
        return;
    }
    let location = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let _ = SEEN.try_with(|seen| {
        if let Ok(mut seen) = seen.try_borrow_mut() {
            *seen = Some(Seen { location, backtrace });
        }
    });
}

struct Depth;

impl Depth {
    fn enter() -> Depth {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Depth
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Calls what may come to code of the user's: the destructor of a result that nobody holds, a waker,
/// a subscriber. One that panics, and the panic hook has said so, costs the other tasks nothing.
pub(crate) fn guarded(f: impl FnOnce()) {
    drop(catch(f));
}

/// Runs `f`. False: it panicked, and the panic hook has said so.
pub(crate) fn contained(f: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(()) => true,
        Err(payload) => {
            discard(payload);
            false
        }
    }
}

/// The payload's own destructor may panic; then it is leaked, as std does.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Runs `f`; a panic becomes an error.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, TaskError> {
    install_hook();
    let outcome = {
        let _depth = Depth::enter();
        if DEPTH.with(Cell::get) == 1 {
            // What is left of a panic that an earlier task caught by itself.
            let stale = SEEN.with(|seen| seen.borrow_mut().take());
            drop(stale);
        }
        catch_unwind(AssertUnwindSafe(f))
    };
    outcome.map_err(|payload| {
        let seen = SEEN.with(|seen| seen.borrow_mut().take());
        let message = message(&*payload);
        discard(payload);
        let (location, backtrace) =
            seen.map_or((None, None), |seen| (seen.location, seen.backtrace));
        TaskError::Panicked { message, location, backtrace }
    })
}

/// The text of a panic's payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic with a value that is no text".to_string()
    }
}
