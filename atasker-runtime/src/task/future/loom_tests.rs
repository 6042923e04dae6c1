//! Models of polling: every wake-up is followed by a poll that sees what was done before it, one
//! thread at a time touches the future, and no runner sleeps while a task is ready.

use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::poll_state::PollState;
use super::sleepers::Sleepers;
use crate::sync::{Fifo, UnsafeCell};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// A loop with one future, reduced to the queue, the poll state and a runner.
struct Loop {
    state: PollState,
    ready: Fifo<()>,
    sleepers: Sleepers,
    /// Counts the polls. loom reports concurrent access.
    future: UnsafeCell<u32>,
    /// The condition of the future. Relaxed, because only the wake-up makes it visible.
    set: AtomicU32,
}

impl Loop {
    fn new() -> Arc<Loop> {
        let this = Loop {
            state: PollState::new(),
            ready: Fifo::new(),
            sleepers: Sleepers::new(),
            future: UnsafeCell::new(0),
            set: AtomicU32::new(0),
        };
        this.state.start();
        this.push();
        Arc::new(this)
    }

    fn push(&self) {
        self.ready.push(());
        self.sleepers.notify_one();
    }

    fn wake(&self) {
        if self.state.wake() {
            self.push();
        }
    }

    /// Polls once: `None` if nothing is ready, true if the future is done.
    fn poll_next(&self, over: impl FnOnce() -> bool) -> Option<bool> {
        self.ready.pop()?;
        self.state.begin_poll();
        let over = self.future.with_mut(|polls| {
            // SAFETY: we are polling; that no other thread does is what the model checks.
            unsafe { *polls += 1 };
            over()
        });
        if over {
            self.state.finish();
        } else if !self.state.end_poll() {
            self.push();
        }
        Some(over)
    }
}

/// A thread that sleeps until it is woken.
#[derive(Default)]
struct Sleeper {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Sleeper {
    fn sleep(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

/// Runs until the future is done. A lost wake-up is a deadlock, which the model reports.
fn drive(this: &Loop, who: usize, mut over: impl FnMut() -> bool) {
    let sleeper = Arc::new(Sleeper::default());
    let waker = Waker::from(Arc::clone(&sleeper));
    loop {
        match this.poll_next(&mut over) {
            Some(true) => return,
            Some(false) => {}
            None => {
                let to_do = || !this.ready.is_empty();
                if this.sleepers.register(who, &waker, to_do) == Poll::Pending {
                    sleeper.sleep();
                    this.sleepers.unregister(who);
                }
            }
        }
    }
}

#[test]
fn loom_every_wake_is_followed_by_a_poll() {
    model(|| {
        let this = Loop::new();
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let this = Arc::clone(&this);
                thread::spawn(move || {
                    this.set.fetch_add(1, Ordering::Relaxed);
                    this.wake();
                })
            })
            .collect();
        drive(&this, 0, || this.set.load(Ordering::Relaxed) == 2);
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        // Late wake-ups push nothing to the queue.
        assert!(this.ready.pop().is_none());
    });
}

#[test]
fn loom_a_future_that_wakes_itself_and_is_woken_stands_in_the_queue_once() {
    model(|| {
        let this = Loop::new();
        let other = {
            let this = Arc::clone(&this);
            thread::spawn(move || {
                this.wake();
                this.wake();
            })
        };
        for _ in 0..2 {
            let turned = this.poll_next(|| {
                this.wake();
                false
            });
            assert_eq!(turned, Some(false));
        }
        assert_eq!(this.poll_next(|| true), Some(true));
        other.join().unwrap();
        assert!(this.ready.pop().is_none());
    });
}

#[test]
fn loom_two_drivers_one_future() {
    model(|| {
        let this = Loop::new();
        let over = Arc::new(AtomicBool::new(false));
        let other = {
            let (this, over) = (Arc::clone(&this), Arc::clone(&over));
            thread::spawn(move || {
                // One tick only: the first runner stays until the end.
                if this.poll_next(|| this.set.load(Ordering::Relaxed) == 1) == Some(true) {
                    over.store(true, Ordering::Relaxed);
                }
            })
        };
        let waker = {
            let this = Arc::clone(&this);
            thread::spawn(move || {
                this.set.store(1, Ordering::Relaxed);
                this.wake();
            })
        };
        let here = this.poll_next(|| this.set.load(Ordering::Relaxed) == 1) == Some(true);
        waker.join().unwrap();
        other.join().unwrap();
        // The last poll has seen it, or the task is in the queue.
        if !here && !over.load(Ordering::Relaxed) {
            assert_eq!(this.poll_next(|| this.set.load(Ordering::Relaxed) == 1), Some(true));
        }
        assert!(this.ready.pop().is_none());
    });
}

#[test]
fn loom_a_further_future_is_polled_whatever_wakes_are_left_of_the_first() {
    model(|| {
        let this = Loop::new();
        assert_eq!(this.poll_next(|| false), Some(false));
        let waker = {
            let this = Arc::clone(&this);
            thread::spawn(move || {
                this.set.store(1, Ordering::Relaxed);
                this.wake();
                this.wake();
            })
        };
        drive(&this, 0, || this.set.load(Ordering::Relaxed) == 1);
        this.state.start();
        this.push();
        let mut polls = 0;
        drive(&this, 0, || {
            polls += 1;
            if polls == 1 {
                this.wake();
            }
            polls == 2
        });
        waker.join().unwrap();
        assert!(this.ready.pop().is_none());
    });
}

#[test]
fn loom_no_driver_sleeps_while_something_is_ready() {
    model(|| {
        let this = Loop::new();
        assert_eq!(this.poll_next(|| false), Some(false));
        // Two runners, one future, one wake-up: the runner that is woken, or that was not asleep,
        // gets it.
        let polls = Arc::new(AtomicU32::new(0));
        let waker = {
            let this = Arc::clone(&this);
            thread::spawn(move || this.wake())
        };
        let other = {
            let (this, polls) = (Arc::clone(&this), Arc::clone(&polls));
            thread::spawn(move || {
                let sleeper = Arc::new(Sleeper::default());
                let to_do = || !this.ready.is_empty();
                let bed = this.sleepers.register(1, &Waker::from(Arc::clone(&sleeper)), to_do);
                if bed == Poll::Ready(()) || *sleeper.woken.lock().unwrap() {
                    polls
                        .fetch_add(u32::from(this.poll_next(|| true).is_some()), Ordering::Relaxed);
                } else {
                    this.sleepers.unregister(1);
                    // Woken meanwhile, so the task is ours.
                    if *sleeper.woken.lock().unwrap() {
                        polls.fetch_add(
                            u32::from(this.poll_next(|| true).is_some()),
                            Ordering::Relaxed,
                        );
                    }
                }
            })
        };
        waker.join().unwrap();
        other.join().unwrap();
        if polls.load(Ordering::Relaxed) == 0 {
            assert_eq!(this.poll_next(|| true), Some(true));
        }
    });
}
