//! The books: every launched task, found by its id.
//!
//! One table of slots for the whole process. An id says in which slot its task stands, so neither a
//! launch nor an end hashes anything or meets a lock that others hold: free slots are handed out by
//! each thread from a small stock of its own, and go back to one.
//!
//! The books hold no task: whoever is about to run it does, and its handles. A task leaves when the
//! last of them has gone; look-ups pass over those that have ended. So the thread that ends a task
//! touches nothing here, which would mean to fetch a line of cache from the one that launched it.
//!
//! A slot's word:
//!
//! ```text
//!            insert                 look                        done
//!   FREE ------------> serial<<2|IN -----> serial<<2|IN|LOOKED ------> serial<<2|IN
//!     ^                    | remove
//!     +--------------------+
//! ```
//!
//! Whoever turns the word to `LOOKED` may read the slot until it turns it back; whoever turns it
//! to `FREE` has the task, and then gives the slot's number back.
//!
//! (A `dashmap` stood here before. What that costs is in DESIGN.md.)

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::id::TaskId;
use crate::sync::{AtomicU64, Ordering, UnsafeCell};
use crate::task::AnyTask;

const FREE: u64 = 0;
const IN: u64 = 1;
const LOOKED: u64 = 2;

/// One place for a task, or for whatever a model puts there.
pub(super) struct Slot<T> {
    word: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is touched by one thread at a time, as the word says (see the module's
// documentation): by the one that was given the free slot, by the one that turned it to LOOKED, by
// the one that turned it to FREE. So `T` moves between threads, and is never shared by a slot.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Slot { word: AtomicU64::new(FREE), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Fills the slot, which is free and was given to the caller.
    pub(super) fn insert(&self, serial: u64, value: T) {
        debug_assert_eq!(self.word.load(Ordering::Relaxed), FREE);
        self.value.with_mut(|slot| {
            // SAFETY: the slot is free and was handed out to us alone; nobody looks into a free one.
            unsafe { (*slot).write(value) };
        });
        self.word.store(serial << 2 | IN, Ordering::Release);
    }

    /// Takes the value out, if it is the one of this serial number.
    pub(super) fn remove(&self, serial: u64) -> Option<T> {
        let word = serial << 2 | IN;
        self.turn(word, FREE).then(|| {
            self.value.with_mut(|slot| {
                // SAFETY: we have turned the word from IN to FREE: the value was there, nobody looks
                // at it, and nobody is given the slot before its number is given back.
                unsafe { (*slot).assume_init_read() }
            })
        })
    }

    /// Reads the value, if it is the one of this serial number.
    pub(super) fn look<R>(&self, serial: u64, f: impl FnOnce(&T) -> R) -> Option<R> {
        let word = serial << 2 | IN;
        self.turn(word, word | LOOKED).then(|| {
            let _done = Looked(self, word);
            self.value.with(|slot| {
                // SAFETY: the word says LOOKED, by us: the value is there, and whoever wants to
                // take it out waits until we have turned the word back.
                f(unsafe { (*slot).assume_init_ref() })
            })
        })
    }

    /// The serial number of what stands here.
    fn serial(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        (word & IN != 0).then_some(word >> 2)
    }

    /// Waits while somebody looks: for a few instructions, unless the system has set him aside.
    fn turn(&self, from: u64, to: u64) -> bool {
        let mut looks = 0u32;
        loop {
            match self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) if now == from | LOOKED => {
                    looks += 1;
                    crate::sync::spin(looks);
                }
                Err(_) => return false,
            }
        }
    }
}

/// Turns the word back even if the look panicked.
struct Looked<'a, T>(&'a Slot<T>, u64);

impl<T> Drop for Looked<'_, T> {
    fn drop(&mut self) {
        self.0.word.store(self.1, Ordering::Release);
    }
}

type Entry = Slot<Weak<dyn AnyTask>>;

const SEGMENT: usize = 1 << 10;
const BRANCH: usize = 1 << 9;

/// Slots in segments that never move, under two levels of 512.
struct Table {
    branches: [OnceLock<Box<Branch>>; BRANCH],
    stock: Mutex<Stock>,
}

type Branch = [OnceLock<Box<[Entry]>>; BRANCH];

/// Numbers of free slots.
struct Stock {
    free: Vec<u32>,
    /// Slots from this one on were never used.
    next: u32,
}

static TABLE: Table = Table {
    branches: [const { OnceLock::new() }; BRANCH],
    stock: Mutex::new(Stock { free: Vec::new(), next: 0 }),
};

impl Table {
    fn segment(&self, number: usize) -> Option<&[Entry]> {
        let branch = self.branches.get(number / BRANCH)?.get()?;
        Some(branch[number % BRANCH].get()?)
    }

    fn slot(&self, place: u32) -> Option<&Entry> {
        let place = place as usize;
        self.segment(place / SEGMENT).map(|segment| &segment[place % SEGMENT])
    }

    fn add_segment(&self, number: usize) {
        let branch = self.branches[number / BRANCH]
            .get_or_init(|| Box::new([const { OnceLock::new() }; BRANCH]));
        branch[number % BRANCH].get_or_init(|| (0..SEGMENT).map(|_| Slot::new()).collect());
    }

    /// Moves free numbers to a thread's own stock.
    fn take(&self, own: &mut Vec<u32>) {
        let mut stock = self.stock.lock();
        let there = stock.free.len();
        if there > 0 {
            own.extend(stock.free.drain(there.saturating_sub(OWN / 2)..));
            // After a burst the room for its numbers is given back.
            if stock.free.capacity() > 4096 && stock.free.len() < stock.free.capacity() / 8 {
                let keep = stock.free.len() * 2;
                stock.free.shrink_to(keep);
            }
            return;
        }
        let start = stock.next;
        let end = start + OWN as u32 / 2;
        assert!((end as usize) < SEGMENT * BRANCH * BRANCH, "2^28 tasks live at once");
        for number in start as usize / SEGMENT..=(end as usize - 1) / SEGMENT {
            self.add_segment(number);
        }
        stock.next = end;
        drop(stock);
        own.extend((start..end).rev());
    }

    fn give_back(&self, numbers: impl Iterator<Item = u32>) {
        self.stock.lock().free.extend(numbers);
    }
}

/// So many free slots a thread keeps at most.
const OWN: usize = 128;

struct Own(Vec<u32>);

impl Drop for Own {
    fn drop(&mut self) {
        TABLE.give_back(self.0.drain(..));
    }
}

thread_local! {
    static OWN_STOCK: RefCell<Own> = const { RefCell::new(Own(Vec::new())) };
}

fn free_slot() -> u32 {
    let own = OWN_STOCK.try_with(|own| {
        let own = &mut own.borrow_mut().0;
        if own.is_empty() {
            TABLE.take(own);
        }
        own.pop()
    });
    // A thread that ends has no stock of its own any more.
    own.ok().flatten().unwrap_or_else(|| {
        let mut some = Vec::new();
        TABLE.take(&mut some);
        let one = some.pop().expect("some are taken, or it panics");
        TABLE.give_back(some.into_iter());
        one
    })
}

fn slot_is_free(place: u32) {
    let kept = OWN_STOCK.try_with(|own| {
        let own = &mut own.borrow_mut().0;
        if own.len() == OWN {
            TABLE.give_back(own.drain(..OWN / 2));
        }
        own.push(place);
    });
    if kept.is_err() {
        TABLE.give_back(std::iter::once(place));
    }
}

/// An id for a task that is about to be booked: [`insert`] must follow.
pub(crate) fn reserve() -> TaskId {
    TaskId::at(free_slot())
}

/// Books a task whose id [`reserve`] gave.
pub(crate) fn insert(id: TaskId, task: &Arc<dyn AnyTask>) {
    let slot = id.place().and_then(|place| TABLE.slot(place));
    slot.expect("the slot was reserved").insert(id.serial(), Arc::downgrade(task));
}

/// A task is gone that [`reserve`] gave its id: its slot is free.
pub(crate) fn remove(id: TaskId) {
    let Some(place) = id.place() else { return };
    if let Some(task) = TABLE.slot(place).and_then(|slot| slot.remove(id.serial())) {
        slot_is_free(place);
        drop(task);
    }
}

/// Finds a task.
pub(crate) fn get(id: TaskId) -> Option<Arc<dyn AnyTask>> {
    let task = TABLE.slot(id.place()?)?.look(id.serial(), Weak::upgrade)??;
    // Another process's id may name the same slot.
    (task.header().id == id).then_some(task)
}

/// Calls `f` for every task that is booked all the while.
pub(crate) fn for_each(mut f: impl FnMut(Arc<dyn AnyTask>)) {
    for segment in (0..).map_while(|number| TABLE.segment(number)) {
        for slot in segment {
            let task = slot.serial().and_then(|serial| slot.look(serial, Weak::upgrade));
            task.flatten().into_iter().for_each(&mut f);
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use crate::info::TaskType;
    use crate::task::body::Once;
    use crate::task::cell::Cell;
    use crate::task::header::Header;

    fn book() -> Arc<dyn AnyTask> {
        let mut header = Header::new(TaskType::Thread);
        header.reserve_id();
        let task: Arc<dyn AnyTask> =
            Cell::<(), _>::new(header, Once(Some(|_: &Arc<dyn AnyTask>| ())), ());
        insert(task.header().id, &task);
        task
    }

    #[test]
    fn a_slot_that_is_used_again_is_another_task() {
        let task = book();
        let first = task.header().id;
        assert!(Arc::ptr_eq(&get(first).unwrap(), &task));
        drop(task);
        assert!(get(first).is_none());
        let task = book();
        let second = task.header().id;
        assert_eq!(first.place(), second.place());
        assert!(get(first).is_none() && get(second).is_some());
        let (origin, number) = second.to_parts();
        assert!(get(TaskId::from_parts(origin ^ 1, number)).is_none());
        assert!(get(TaskId::from_parts(7, u64::MAX)).is_none());
    }

    #[test]
    fn tasks_go_while_others_look_for_them() {
        std::thread::scope(|scope| {
            let (send, ids) = std::sync::mpsc::channel();
            scope.spawn(move || {
                for id in ids {
                    if let Some(task) = get(id) {
                        assert_eq!(task.header().id, id);
                    }
                    for_each(|task| assert_ne!(task.header().id, TaskId::next()));
                }
            });
            for _ in 0..2_000 {
                let tasks = [book(), book()];
                for task in &tasks {
                    send.send(task.header().id).unwrap();
                    assert!(Arc::ptr_eq(&get(task.header().id).unwrap(), task));
                }
                scope.spawn(move || drop(tasks));
            }
            drop(send);
        });
    }
}
