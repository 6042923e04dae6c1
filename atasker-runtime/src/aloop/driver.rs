//! The drivers of a loop: futures of its runtime that give the tasks on it their turns.
//!
//! tokio goes on with sockets, timers and what else runs on the runtime between a driver's rounds,
//! just as it does between the rounds of its own.

use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::task::{coop, yield_now};

use crate::task::future::queue::Queue;
use crate::task::owners::{self, OwnerKey};
use crate::task::park;

/// Turns in one round: as many as tokio's own loops give before they look for events.
const ROUND: u32 = 61;

/// How a round ended.
#[derive(PartialEq)]
enum Round {
    /// More is ready.
    More,
    /// Nothing is ready, after some turns.
    Done,
    /// Nothing was ready.
    Idle,
}

/// The drivers of one loop: one where it has one thread. Where it has more, there is always one that
/// is not at its round, for a task may hand its thread over (`tokio::task::block_in_place`) and keep
/// its driver.
pub(super) struct Drivers {
    queue: Arc<Queue>,
    owner: Option<OwnerKey>,
    /// How many there are when no task does so.
    usual: usize,
    /// How many there are, times [`ONE`], and how many of them are at their rounds.
    counts: AtomicUsize,
    /// Their numbers.
    next: AtomicUsize,
}

const ONE: usize = 1 << (usize::BITS / 2);

impl Drivers {
    /// Starts the drivers of a runtime with so many threads.
    pub(super) fn start(
        queue: Arc<Queue>,
        owner: Option<OwnerKey>,
        runtime: &Handle,
        threads: usize,
    ) -> Arc<Drivers> {
        let usual = if threads == 1 { 1 } else { threads + 1 };
        let drivers = Arc::new(Drivers {
            queue,
            owner,
            usual,
            counts: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        });
        (0..usual).for_each(|_| drivers.add(runtime));
        drivers
    }

    fn add(self: &Arc<Self>, runtime: &Handle) {
        self.counts.fetch_add(ONE, Ordering::Relaxed);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        runtime.spawn(drive(Arc::clone(self), number));
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.counts.load(Ordering::Relaxed) / ONE
    }

    fn round(self: &Arc<Self>) -> Round {
        if self.usual == 1 {
            return round(&self.queue);
        }
        let before = self.counts.fetch_add(1, Ordering::Relaxed);
        if before % ONE + 1 == before / ONE {
            self.add(&Handle::current());
        }
        let ended = {
            let _works_for = self.owner.map(owners::work_for);
            round(&self.queue)
        };
        self.counts.fetch_sub(1, Ordering::Relaxed);
        ended
    }

    /// Whether one who is about to sleep is one too many; it is counted out then.
    fn may_go(&self) -> bool {
        let fewer = |counts| {
            let (all, idle) = (counts / ONE, counts / ONE - counts % ONE);
            (all > self.usual && idle > 1).then(|| counts - ONE)
        };
        self.counts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }
}

/// Gives the tasks of a loop their turns until the runtime drops it.
async fn drive(drivers: Arc<Drivers>, number: usize) {
    let queue = &*drivers.queue;
    let mut patience = Patience::new();
    loop {
        match drivers.round() {
            Round::More => yield_now().await,
            Round::Done if patience.wait(queue).await => {}
            Round::Done | Round::Idle if drivers.may_go() => return,
            Round::Done | Round::Idle => sleep(queue, number).await,
        }
    }
}

fn round(queue: &Queue) -> Round {
    let turns = || {
        let _on_aloop = park::drive_aloop();
        for turn in 0..ROUND {
            if !queue.turn() {
                return if turn == 0 { Round::Idle } else { Round::Done };
            }
            // tokio's resources have given what one round gets; a future that asks on would be told
            // to come back, turn by turn.
            if !coop::has_budget_remaining() {
                return Round::More;
            }
        }
        Round::More
    };
    // A turn catches the panics of the task's own code. What else may panic must not take all other
    // tasks of the loop along.
    catch_unwind(AssertUnwindSafe(turns)).unwrap_or(Round::More)
}

/// Sleeps until something is ready.
async fn sleep(queue: &Queue, number: usize) {
    struct Bed<'a>(&'a Queue, usize);
    impl Drop for Bed<'_> {
        fn drop(&mut self) {
            self.0.get_up(self.1);
        }
    }
    let _bed = Bed(queue, number);
    let mut lies = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut lies, true) {
            return Poll::Ready(());
        }
        queue.sleep(number, context.waker())
    })
    .await;
}

/// How long a driver that has run out of tasks looks for more before it sleeps: waking a thread
/// costs more than the wait for somebody who answers at once. It looks longer while that pays off,
/// and stops looking where it does not.
struct Patience {
    looks: u32,
}

impl Patience {
    const LEAST: u32 = 1;
    const MOST: u32 = 16;

    fn new() -> Self {
        Patience { looks: Self::LEAST }
    }

    /// True: something is ready.
    async fn wait(&mut self, queue: &Queue) -> bool {
        if !queue.may_spin() {
            return false;
        }
        for _ in 0..self.looks {
            for _ in 0..64 {
                if !queue.is_empty() {
                    self.looks = Self::MOST.min(self.looks * 2);
                    return true;
                }
                hint::spin_loop();
            }
            // Events and timers go on.
            yield_now().await;
        }
        self.looks = Self::LEAST.max(self.looks / 2);
        !queue.is_empty()
    }
}
