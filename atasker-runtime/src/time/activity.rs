//! What an advance of a paused clock waits for.
//!
//! An [`Activity`] counts what has begun and not ended: actions of the timer, attempts of tasks,
//! callbacks. Each holds a [`Busy`] until then. An advance of the clock waits until none is left, so
//! that what happens at one due time precedes the next one.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::fork;
use crate::sync::lock::Mutex;

/// Until when a task is busy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    Begun,
    Ended,
}

/// See the documentation of the module.
#[derive(Default)]
pub(crate) struct Activity {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    busy: usize,
    /// Wakes the advance that waits.
    waker: Option<Waker>,
}

impl Activity {
    /// Counts one more until the returned value is dropped.
    pub(crate) fn begin(self: &Arc<Self>, until: Until) -> Busy {
        self.state.lock().busy += 1;
        Busy { activity: Arc::clone(self), until }
    }

    /// Ready when nothing is busy. One advance waits at a time.
    pub(crate) fn poll_idle(&self, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut state = self.state.lock();
        let ready = state.busy == 0;
        let old = std::mem::replace(&mut state.waker, (!ready).then_some(waker));
        drop(state);
        drop(old);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Something that has begun and not ended. See [`Activity::begin`].
pub(crate) struct Busy {
    activity: Arc<Activity>,
    until: Until,
}

impl Busy {
    /// Returns until when it lasts.
    pub(crate) fn until(&self) -> Until {
        self.until
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if fork::is_copy() {
            return;
        }
        let mut state = self.activity.state.lock();
        state.busy -= 1;
        let waker = if state.busy == 0 { state.waker.take() } else { None };
        drop(state);
        // The waker of a parked thread of ours, which runs no user code.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn last_end_wakes_once() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let activity = Arc::new(Activity::default());
        assert!(activity.poll_idle(&mut context).is_ready());
        let begin = || activity.begin(Until::Ended);
        let (first, second) = (begin(), begin());
        assert!(activity.poll_idle(&mut context).is_pending());
        drop(first);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        drop(second);
        drop(begin());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(activity.poll_idle(&mut context).is_ready());
    }
}
