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
//! The state word of an entry:
//!
//! ```text
//!           insert                        with                       guard dropped
//!   VACANT ------> serial<<2|OCCUPIED -----> serial<<2|OCCUPIED|BORROWED -----> serial<<2|OCCUPIED
//!     ^                   | remove
//!     +-------------------+
//! ```
//!
//! The thread that sets `BORROWED` may read the value until it clears the flag. The thread that
//! changes the word to `VACANT` owns the value, and returns the index to a free list afterwards.
//!
//! A `dashmap` from id to task used to take this role. Kept beside this table, it reduced the rate
//! of empty tasks from 2.7 to 1.5 million per second on CPUs that do not share a cache.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::{Arc, OnceLock, Weak};

use crate::fork;
use crate::sync::lock::Mutex;

use crate::id::TaskId;
use crate::sync::{AtomicU64, Ordering, UnsafeCell};
use crate::task::AnyTask;

const VACANT: u64 = 0;
const OCCUPIED: u64 = 1;
const BORROWED: u64 = 2;

/// An entry for a task, or for any other value in a model.
pub(super) struct Entry<T> {
    state: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is accessed by one thread at a time, according to the state word (see the
// module's documentation): by the thread that allocated the vacant entry, by the one that set
// BORROWED, or by the one that changed the word to VACANT. So `T` moves between threads and is
// never shared by an entry.
unsafe impl<T: Send> Sync for Entry<T> {}

impl<T> Entry<T> {
    pub(super) fn new() -> Self {
        Entry { state: AtomicU64::new(VACANT), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Fills a vacant entry that was allocated by the caller.
    pub(super) fn insert(&self, serial: u64, value: T) {
        debug_assert_eq!(self.state.load(Ordering::Relaxed), VACANT);
        self.value.with_mut(|cell| {
            // SAFETY: the entry is vacant and was allocated by us; no other thread reads a vacant
            // entry.
            unsafe { (*cell).write(value) };
        });
        // A store suffices, because only the allocating thread writes a vacant entry. Release
        // publishes the value to threads that borrow it.
        self.state.store(serial << 2 | OCCUPIED, Ordering::Release);
    }

    /// Takes the value out if it has this serial number.
    pub(super) fn remove(&self, serial: u64) -> Option<T> {
        let word = serial << 2 | OCCUPIED;
        self.transition(word, VACANT).then(|| {
            self.value.with_mut(|value| {
                // SAFETY: we have changed the word from OCCUPIED to VACANT. So the value was there,
                // no thread reads it, and the entry is not allocated again before its index is
                // returned.
                unsafe { (*value).assume_init_read() }
            })
        })
    }

    /// Calls `f` with the value if it has this serial number.
    pub(super) fn with<R>(&self, serial: u64, f: impl FnOnce(&T) -> R) -> Option<R> {
        let word = serial << 2 | OCCUPIED;
        self.transition(word, word | BORROWED).then(|| {
            let _done = BorrowGuard(self, word);
            self.value.with(|value| {
                // SAFETY: we have set BORROWED. So the value is there, and removing it waits until
                // we have cleared the flag.
                f(unsafe { (*value).assume_init_ref() })
            })
        })
    }

    /// Returns the serial number of the value in this entry.
    fn serial(&self) -> Option<u64> {
        // Only a hint: the exchange in `transition` compares the serial number again.
        let word = self.state.load(Ordering::Acquire);
        (word & OCCUPIED != 0).then_some(word >> 2)
    }

    /// Changes the state word. Waits while the entry is borrowed, which lasts a few instructions
    /// unless the borrowing thread is preempted.
    fn transition(&self, from: u64, to: u64) -> bool {
        let mut attempts = 0u32;
        loop {
            // Acquire: a borrower or remover sees the inserted value. Release: the thread that is
            // allocated the entry next sees that the value was taken out.
            match self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) if now == from | BORROWED => {
                    attempts += 1;
                    if attempts.is_multiple_of(64) && fork::is_copy() {
                        // The borrowing thread does not exist in a forked process.
                        return false;
                    }
                    crate::sync::back_off(attempts);
                }
                Err(_) => return false,
            }
        }
    }
}

/// Clears the flag even if the borrower panicked.
struct BorrowGuard<'a, T>(&'a Entry<T>, u64);

impl<T> Drop for BorrowGuard<'_, T> {
    fn drop(&mut self) {
        // A store suffices, because no other thread changes the word while BORROWED is set.
        self.0.state.store(self.1, Ordering::Release);
    }
}

type TaskEntry = Entry<Weak<dyn AnyTask>>;

const SEGMENT_LEN: usize = 1 << 10;
const BRANCH_LEN: usize = 1 << 9;

/// Entries in segments that never move, under two levels of 512.
struct Table {
    branches: [OnceLock<Box<Branch>>; BRANCH_LEN],
    free: Mutex<FreeList>,
}

type Branch = [OnceLock<Box<[TaskEntry]>>; BRANCH_LEN];

/// The indices of vacant entries.
struct FreeList {
    indices: Vec<u32>,
    /// Entries from this index on were never used.
    next: u32,
}

static TABLE: Table = Table {
    branches: [const { OnceLock::new() }; BRANCH_LEN],
    free: Mutex::new(FreeList { indices: Vec::new(), next: 0 }),
};

impl Table {
    fn segment(&self, number: usize) -> Option<&[TaskEntry]> {
        let branch = self.branches.get(number / BRANCH_LEN)?.get()?;
        Some(branch[number % BRANCH_LEN].get()?)
    }

    fn entry(&self, index: u32) -> Option<&TaskEntry> {
        let index = index as usize;
        self.segment(index / SEGMENT_LEN).map(|segment| &segment[index % SEGMENT_LEN])
    }

    fn add_segment(&self, number: usize) {
        let branch = self.branches[number / BRANCH_LEN]
            .get_or_init(|| Box::new([const { OnceLock::new() }; BRANCH_LEN]));
        branch[number % BRANCH_LEN]
            .get_or_init(|| (0..SEGMENT_LEN).map(|_| Entry::new()).collect());
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
        assert!((end as usize) < SEGMENT_LEN * BRANCH_LEN * BRANCH_LEN, "2^28 tasks live at once");
        // Under the lock, before the indices are handed out: `entry` then finds the segment.
        for number in start as usize / SEGMENT_LEN..=(end as usize - 1) / SEGMENT_LEN {
            self.add_segment(number);
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

struct LocalFreeList(Vec<u32>);

impl Drop for LocalFreeList {
    fn drop(&mut self) {
        TABLE.release(self.0.drain(..));
    }
}

thread_local! {
    static LOCAL_FREE: RefCell<LocalFreeList> = const { RefCell::new(LocalFreeList(Vec::new())) };
}

fn allocate() -> u32 {
    let local = LOCAL_FREE.try_with(|local| {
        let local = &mut local.borrow_mut().0;
        if local.is_empty() {
            TABLE.refill(local);
        }
        local.pop()
    });
    // A thread that exits has no free list any more.
    local.ok().flatten().unwrap_or_else(|| {
        let mut batch = Vec::new();
        TABLE.refill(&mut batch);
        let one = batch.pop().expect("`refill` adds some or panics");
        TABLE.release(batch.into_iter());
        one
    })
}

fn deallocate(index: u32) {
    let cached = LOCAL_FREE.try_with(|local| {
        let local = &mut local.borrow_mut().0;
        if local.len() == LOCAL_CAPACITY {
            TABLE.release(local.drain(..LOCAL_CAPACITY / 2));
        }
        local.push(index);
    });
    if cached.is_err() {
        TABLE.release(std::iter::once(index));
    }
}

/// Returns an id for a task to be inserted.
pub(crate) fn reserve() -> TaskId {
    TaskId::with_index(allocate())
}

/// Inserts a task whose id was returned by [`reserve`].
pub(crate) fn insert(id: TaskId, task: &Arc<dyn AnyTask>) {
    let entry = id.table_index().and_then(|index| TABLE.entry(index));
    entry.expect("the entry was reserved").insert(id.serial(), Arc::downgrade(task));
}

/// Frees the entry of a task whose id was returned by [`reserve`].
pub(crate) fn remove(id: TaskId) {
    let Some(index) = id.table_index() else { return };
    let Some(entry) = TABLE.entry(index) else { return };
    match entry.remove(id.serial()) {
        Some(task) => {
            deallocate(index);
            drop(task);
        }
        // The task was not launched, so it was not inserted. No other thread has this index.
        None if entry.serial().is_none() => deallocate(index),
        None => {}
    }
}

/// Returns the task with this id, which this process has drawn. See also [`foreign::find`].
///
/// [`foreign::find`]: crate::task::foreign::find
pub(crate) fn get(id: TaskId) -> Option<Arc<dyn AnyTask>> {
    // An id of another process may contain the same index.
    get_entry(id).filter(|task| task.header().id == id)
}

/// Returns the task in the entry of this id, which was returned by [`reserve`]. The task itself may
/// have another id.
pub(crate) fn get_entry(id: TaskId) -> Option<Arc<dyn AnyTask>> {
    TABLE.entry(id.table_index()?)?.with(id.serial(), Weak::upgrade)?
}

/// Calls `f` for every task that is in the table throughout the call.
pub(crate) fn for_each(mut f: impl FnMut(Arc<dyn AnyTask>)) {
    for segment in (0..).map_while(|number| TABLE.segment(number)) {
        for entry in segment {
            let task = entry.serial().and_then(|serial| entry.with(serial, Weak::upgrade));
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

    fn new_task() -> Arc<dyn AnyTask> {
        let mut header = Header::new(TaskType::Thread, TaskId::next());
        header.reserve_id();
        let task: Arc<dyn AnyTask> =
            Cell::<(), _>::new(header, Once(Some(|_: &Arc<dyn AnyTask>| ())), ());
        insert(task.header().id, &task);
        task
    }

    #[test]
    fn a_slot_that_is_used_again_is_another_task() {
        let task = new_task();
        let first = task.header().id;
        assert!(Arc::ptr_eq(&get(first).unwrap(), &task));
        drop(task);
        assert!(get(first).is_none());
        let task = new_task();
        let second = task.header().id;
        assert_eq!(first.table_index(), second.table_index());
        assert!(get(first).is_none() && get(second).is_some());
        let (origin, number) = second.to_parts();
        assert!(get(TaskId::from_parts(origin ^ 1, number)).is_none());
        assert!(get(TaskId::from_parts(7, u64::MAX)).is_none());
    }

    #[test]
    fn entry_of_a_task_that_was_not_inserted_is_used_again() {
        let id = reserve();
        remove(id);
        let again = reserve();
        assert_eq!(id.table_index(), again.table_index());
        remove(again);
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
                let tasks = [new_task(), new_task()];
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
