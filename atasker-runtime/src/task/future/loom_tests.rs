//! Models of turns: every wake is followed by a poll that sees what was done before it, one thread
//! at a time touches the future, and no driver sleeps while something is ready.

use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::beds::Beds;
use super::word::Word;
use crate::sync::{Fifo, UnsafeCell};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// A loop with one future: what the queue, the seat and a driver are to it.
struct Loop {
    word: Word,
    ready: Fifo<()>,
    beds: Beds,
    /// Counts its polls. loom reports it if two touch it at once.
    future: UnsafeCell<u32>,
    /// What it waits for. Relaxed: the wake alone makes it seen.
    set: AtomicU32,
}

impl Loop {
    fn new() -> Arc<Loop> {
        let this = Loop {
            word: Word::new(),
            ready: Fifo::new(),
            beds: Beds::new(),
            future: UnsafeCell::new(0),
            set: AtomicU32::new(0),
        };
        this.word.start();
        this.push();
        Arc::new(this)
    }

    fn push(&self) {
        self.ready.push(());
        self.beds.wake_one();
    }

    fn wake(&self) {
        if self.word.wake() {
            self.push();
        }
    }

    /// A turn: `None` if nothing is ready, true if the future is over.
    fn turn(&self, over: impl FnOnce() -> bool) -> Option<bool> {
        self.ready.pop()?;
        self.word.take();
        let over = self.future.with_mut(|polls| {
            // SAFETY: we have the turn; that nobody else has it is what the model checks.
            unsafe { *polls += 1 };
            over()
        });
        if over {
            self.word.end();
        } else if !self.word.rest() {
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

/// Drives until the future is over. A lost wake is a deadlock, which the model reports.
fn drive(this: &Loop, who: usize, mut over: impl FnMut() -> bool) {
    let sleeper = Arc::new(Sleeper::default());
    let waker = Waker::from(Arc::clone(&sleeper));
    loop {
        match this.turn(&mut over) {
            Some(true) => return,
            Some(false) => {}
            None => {
                let to_do = || !this.ready.is_empty();
                if this.beds.lie_down(who, &waker, to_do) == Poll::Pending {
                    sleeper.sleep();
                    this.beds.get_up(who);
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
        // Late wakes put nothing into the queue.
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
            let turned = this.turn(|| {
                this.wake();
                false
            });
            assert_eq!(turned, Some(false));
        }
        assert_eq!(this.turn(|| true), Some(true));
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
                // One round only: the first driver stays until the end.
                if this.turn(|| this.set.load(Ordering::Relaxed) == 1) == Some(true) {
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
        let here = this.turn(|| this.set.load(Ordering::Relaxed) == 1) == Some(true);
        waker.join().unwrap();
        other.join().unwrap();
        // Whoever polls last has seen it, or finds it in the queue.
        if !here && !over.load(Ordering::Relaxed) {
            assert_eq!(this.turn(|| this.set.load(Ordering::Relaxed) == 1), Some(true));
        }
        assert!(this.ready.pop().is_none());
    });
}

#[test]
fn loom_a_further_future_is_polled_whatever_wakes_are_left_of_the_first() {
    model(|| {
        let this = Loop::new();
        assert_eq!(this.turn(|| false), Some(false));
        let waker = {
            let this = Arc::clone(&this);
            thread::spawn(move || {
                this.set.store(1, Ordering::Relaxed);
                this.wake();
                this.wake();
            })
        };
        drive(&this, 0, || this.set.load(Ordering::Relaxed) == 1);
        this.word.start();
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
        assert_eq!(this.turn(|| false), Some(false));
        // Two drivers, one future, one wake: the one that is woken, or that did not sleep yet, has it.
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
                let bed = this.beds.lie_down(1, &Waker::from(Arc::clone(&sleeper)), to_do);
                if bed == Poll::Ready(()) || *sleeper.woken.lock().unwrap() {
                    polls.fetch_add(u32::from(this.turn(|| true).is_some()), Ordering::Relaxed);
                } else {
                    this.beds.get_up(1);
                    // Woken just now: then it is ours to do.
                    if *sleeper.woken.lock().unwrap() {
                        polls.fetch_add(u32::from(this.turn(|| true).is_some()), Ordering::Relaxed);
                    }
                }
            })
        };
        waker.join().unwrap();
        other.join().unwrap();
        if polls.load(Ordering::Relaxed) == 0 {
            assert_eq!(this.turn(|| true), Some(true));
        }
    });
}
