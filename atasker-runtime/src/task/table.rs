//! The task table: finds every launched task by its id.
//!
//! One table serves the whole process. An id contains the index of the task's entry, so neither a
//! launch nor an end computes a hash or contends on a lock: each thread allocates vacant entries
//! from a small free list, and returns them to one.
//!
//! The table does not own tasks; the code about to run a task and its handles do. An entry is freed
//! with the task's last owner, and lookups skip tasks that have ended. So the thread that ends a
//! task touches nothing here, which would fetch a cache line from the thread that launched it.
//!
//! An entry is a pointer, whose lowest bit says that a thread is reading what it points to:
//!
//! ```text
//!          insert               with                    guard dropped
//!   null --------> the task ----------> the task | 1 ----------------> the task
//!     ^               | remove
//!     +---------------+
//! ```
//!
//! A `dashmap` from id to task used to take this role. Kept beside this table, it reduced the rate
//! of empty tasks from 2.7 to 1.5 million per second on CPUs that do not share a cache.

use std::cell::RefCell;
use std::ptr::{self, NonNull};

use crate::fork;
use crate::id::{INDICES, Numbers, TaskId};
use crate::sync::lock::Mutex;
use crate::sync::{AtomicPtr, Ordering, back_off};
use crate::sys::once::OnceBox;
use crate::task::TaskArc;
use crate::task::arc::Base;

/// The bit of an entry that a thread is reading.
const BORROWED: usize = 1;

/// An entry for a task, or for any other value in a model, whose alignment leaves one bit free.
pub(super) struct Entry<T>(AtomicPtr<T>);

impl<T> Entry<T> {
    pub(super) fn new() -> Self {
        const { assert!(align_of::<T>() > BORROWED) };
        Entry(AtomicPtr::new(ptr::null_mut()))
    }

    /// Fills a vacant entry that was allocated by the caller.
    pub(super) fn insert(&self, value: NonNull<T>) {
        debug_assert!(self.0.load(Ordering::Relaxed).is_null());
        // A store suffices, because only the allocating thread writes a vacant entry. Release: a
        // thread that borrows the value sees its contents.
        self.0.store(value.as_ptr(), Ordering::Release);
    }

    /// Makes the entry vacant, once no thread borrows it. Called by its owner. Has no effect if it
    /// is vacant.
    pub(super) fn remove(&self) {
        let mut attempts = 0;
        loop {
            let now = self.0.load(Ordering::Relaxed);
            if now.is_null() {
                return;
            }
            // Acquire: what borrowers have done with the value precedes what the caller does.
            // Release: the owner that is allocated the entry next finds it vacant.
            if now.addr() & BORROWED == 0 && self.exchange(now, ptr::null_mut()) {
                return;
            }
            attempts += 1;
            if gives_up(attempts) {
                return;
            }
        }
    }

    /// Calls `f` with the value if there is one. It is not removed meanwhile.
    pub(super) fn with<R>(&self, f: impl FnOnce(NonNull<T>) -> R) -> Option<R> {
        let mut attempts = 0;
        loop {
            let now = self.0.load(Ordering::Relaxed);
            let value = NonNull::new(now)?;
            let borrowed = now.map_addr(|address| address | BORROWED);
            // Acquire: the contents of the value are visible. Release: so that they still are to
            // the next thread, which sees what this one has stored.
            if now != borrowed && self.exchange(now, borrowed) {
                let _done = BorrowGuard(self, value);
                return Some(f(value));
            }
            attempts += 1;
            if gives_up(attempts) {
                return None;
            }
        }
    }

    fn exchange(&self, from: *mut T, to: *mut T) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Waits while an entry is borrowed, which lasts a few instructions unless the borrowing thread is
/// preempted. Returns true in a forked process, in which that thread does not exist.
fn gives_up(attempts: u32) -> bool {
    if attempts.is_multiple_of(64) && fork::is_copy() {
        return true;
    }
    back_off(attempts);
    false
}

/// Clears the bit even if the borrower panicked.
struct BorrowGuard<'a, T>(&'a Entry<T>, NonNull<T>);

impl<T> Drop for BorrowGuard<'_, T> {
    fn drop(&mut self) {
        // A store suffices, because no other thread changes the entry while it is borrowed.
        self.0.0.store(self.1.as_ptr(), Ordering::Release);
    }
}

type TaskEntry = Entry<Base>;

const SEGMENT_LEN: usize = 1 << 11;
const MAX_SEGMENTS: usize = INDICES as usize / SEGMENT_LEN;

/// Entries in segments that never move. The list of the segments takes memory only as far as it is
/// used.
struct Table {
    segments: [OnceBox<Segment>; MAX_SEGMENTS],
    free: Mutex<FreeList>,
}

type Segment = [TaskEntry; SEGMENT_LEN];

/// The indices of vacant entries.
struct FreeList {
    indices: Vec<u32>,
    /// Entries from this index on were never used.
    next: u32,
}

static TABLE: Table = Table {
    segments: [const { OnceBox::new() }; MAX_SEGMENTS],
    free: Mutex::new(FreeList { indices: Vec::new(), next: 0 }),
};

impl Table {
    #[inline]
    fn entry(&self, index: u32) -> Option<&TaskEntry> {
        let index = index as usize;
        Some(&self.segments.get(index / SEGMENT_LEN)?.get()?[index % SEGMENT_LEN])
    }

    /// Moves vacant indices to the free list of a thread.
    fn refill(&self, local: &mut Vec<u32>) {
        let mut free = self.free.lock();
        let available = free.indices.len();
        if available > 0 {
            local.extend(free.indices.drain(available.saturating_sub(LOCAL_CAPACITY / 2)..));
            // Return memory after a burst.
            if free.indices.capacity() > 4096 && free.indices.len() < free.indices.capacity() / 8 {
                let keep = free.indices.len() * 2;
                free.indices.shrink_to(keep);
            }
            return;
        }
        let start = free.next;
        let end = start + LOCAL_CAPACITY as u32 / 2;
        assert!(end < INDICES, "{INDICES} tasks live at once");
        // Under the lock, before the indices are handed out: `entry` then finds the segment.
        for number in start as usize / SEGMENT_LEN..=(end as usize - 1) / SEGMENT_LEN {
            self.segments[number].get_or_init(|| std::array::from_fn(|_| Entry::new()));
        }
        free.next = end;
        drop(free);
        local.extend((start..end).rev());
    }

    fn release(&self, indices: impl Iterator<Item = u32>) {
        if fork::is_copy() {
            return;
        }
        self.free.lock().indices.extend(indices);
    }
}

/// The maximum length of a thread's free list.
const LOCAL_CAPACITY: usize = 128;

/// What a thread keeps for the tasks that it launches.
struct Local {
    free: Vec<u32>,
    numbers: Numbers,
}

impl Drop for Local {
    fn drop(&mut self) {
        TABLE.release(self.free.drain(..));
    }
}

impl Local {
    #[inline]
    fn allocate(&mut self) -> u32 {
        match self.free.pop() {
            Some(index) => index,
            None => self.refill(),
        }
    }

    #[cold]
    fn refill(&mut self) -> u32 {
        TABLE.refill(&mut self.free);
        self.free.pop().expect("`refill` adds some or panics")
    }

    #[inline]
    fn release(&mut self, index: u32) {
        if self.free.len() == LOCAL_CAPACITY {
            self.release_half();
        }
        self.free.push(index);
    }

    #[cold]
    fn release_half(&mut self) {
        TABLE.release(self.free.drain(..LOCAL_CAPACITY / 2));
    }
}

thread_local! {
    static LOCAL: RefCell<Local> =
        const { RefCell::new(Local { free: Vec::new(), numbers: Numbers::NONE }) };
}

/// Calls `f` with the local state of this thread, or a temporary one if it exits.
#[inline]
fn with_local<T>(f: impl Fn(&mut Local) -> T) -> T {
    /// For a thread that exits.
    #[cold]
    fn without<T>(f: impl Fn(&mut Local) -> T) -> T {
        f(&mut Local { free: Vec::new(), numbers: Numbers::NONE })
    }
    match LOCAL.try_with(|local| f(&mut local.borrow_mut())) {
        Ok(done) => done,
        Err(_) => without(f),
    }
}

/// Returns an id for a task to be inserted, with a vacant entry.
#[inline]
pub(crate) fn reserve() -> TaskId {
    with_local(|local| {
        let index = local.allocate();
        local.numbers.draw(index)
    })
}

/// Draws other numbers from now on: see [`id::renew`](crate::id::renew).
pub(crate) fn renew_numbers() {
    with_local(|local| local.numbers = Numbers::NONE);
}

/// Returns a vacant entry, for a task whose id does not contain its index.
pub(super) fn reserve_index() -> u32 {
    with_local(Local::allocate)
}

/// Inserts a task into the entry at this index, which was reserved for it.
#[inline]
pub(crate) fn insert(index: u32, task: &TaskArc) {
    TABLE.entry(index).expect("the entry was reserved").insert(task.as_base());
}

/// Frees a reserved entry, whether or not a task was inserted.
pub(super) fn remove(index: u32) {
    let Some(entry) = TABLE.entry(index) else { return };
    entry.remove();
    with_local(|local| local.release(index));
}

/// Returns the task with this id, which this process has drawn. See also [`foreign::find`].
///
/// [`foreign::find`]: crate::task::foreign::find
pub(crate) fn get(id: TaskId) -> Option<TaskArc> {
    // The entry may be that of a later task meanwhile, and an id of another process contains an
    // index as well.
    get_at(id.table_index()?).filter(|task| task.header().id() == id)
}

/// Returns the task in the entry at this index.
pub(super) fn get_at(index: u32) -> Option<TaskArc> {
    TABLE.entry(index)?.with(upgrade)?
}

/// Returns the task of a borrowed entry, unless its last owner was dropped.
fn upgrade(task: NonNull<Base>) -> Option<TaskArc> {
    // SAFETY: the header of the task removes the entry when it is dropped, which is before the
    // memory is freed, and the removal waits while the entry is borrowed.
    unsafe { TaskArc::upgrade(task) }
}

/// Calls `f` for every task that is in the table throughout the call.
pub(crate) fn for_each(mut f: impl FnMut(TaskArc)) {
    for segment in TABLE.segments.iter().map_while(OnceBox::get) {
        for entry in segment {
            entry.with(upgrade).flatten().into_iter().for_each(&mut f);
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

    fn new_task() -> TaskArc {
        let mut header = Header::new(TaskType::Thread, TaskId::next());
        header.reserve_id();
        let task = Cell::<(), _>::allocate(header, Once(Some(|_: &TaskArc| ())), ()).erase();
        insert(task.header().id().table_index().unwrap(), &task);
        task
    }

    #[test]
    fn a_slot_that_is_used_again_is_another_task() {
        let task = new_task();
        let first = task.header().id();
        assert!(TaskArc::ptr_eq(&get(first).unwrap(), &task));
        drop(task);
        assert!(get(first).is_none());
        let task = new_task();
        let second = task.header().id();
        assert_eq!(first.table_index(), second.table_index());
        assert!(get(first).is_none() && get(second).is_some());
        let (origin, number) = second.to_parts();
        assert!(get(TaskId::from_parts(origin ^ 1, number)).is_none());
        assert!(get(TaskId::from_parts(7, u64::MAX)).is_none());
    }

    #[test]
    fn entry_of_a_task_that_was_not_inserted_is_used_again() {
        let index = reserve_index();
        remove(index);
        assert_eq!(reserve_index(), index);
        remove(index);
    }

    #[test]
    fn tasks_go_while_others_look_for_them() {
        std::thread::scope(|scope| {
            let (send, ids) = std::sync::mpsc::channel();
            scope.spawn(move || {
                for id in ids {
                    if let Some(task) = get(id) {
                        assert_eq!(task.header().id(), id);
                    }
                    for_each(|task| assert_ne!(task.header().id(), TaskId::next()));
                }
            });
            for _ in 0..2_000 {
                let tasks = [new_task(), new_task()];
                for task in &tasks {
                    send.send(task.header().id()).unwrap();
                    assert!(TaskArc::ptr_eq(&get(task.header().id()).unwrap(), task));
                }
                scope.spawn(move || drop(tasks));
            }
            drop(send);
        });
    }
}
