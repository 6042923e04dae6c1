//! What has happened and is not written yet.
//!
//! Facts are counted in shards, each under a lock that threads rarely share. In a shard, a task is
//! found by the address of its name if that is part of the program, so that no text is compared;
//! other names are found by content.
//!
//! The writer takes all facts at once. Values of histograms are not left to it alone, because that
//! would be much work at once for the thread of the timer: a thread that completes a batch of
//! values writes them itself, through a handle that the writer has left here.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use ::metrics::Histogram;
use crossbeam_utils::CachePadded;

use super::catalog::RUN_OUTCOMES;
use super::names::{Limit, NameId, Names};
use super::series::Handle;
use crate::info::TaskType;
use crate::observe::outcome::WORDS;
use crate::priority::Priority;
use crate::supervisor::{SHARDS, shard};
use crate::sync::lock::Mutex;
use crate::unwind::Guarded;

/// The number of kinds of places.
const PLACES: usize = 4;
pub(super) const PRIORITIES: usize = 4;
/// The most names that a shard finds by address. More of them exist only if a program leaks names.
const MOST_ADDRESSES: usize = 4_096;

/// Facts about the tasks of one name in one place.
#[derive(Default)]
pub(super) struct TaskFacts {
    pub(super) launched: [u64; PRIORITIES],
    pub(super) completed: [u64; WORDS.len()],
    pub(super) retries: u64,
    pub(super) queue: [Values; PRIORITIES],
    pub(super) run: [Values; PRIORITIES],
}

/// Facts about one background worker.
#[derive(Default)]
pub(super) struct WorkerFacts {
    pub(super) runs: [u64; RUN_OUTCOMES.len()],
    pub(super) lateness: Values,
}

/// Values of a histogram.
#[derive(Default)]
pub(super) struct Values {
    pub(super) values: Vec<f64>,
    /// Where batches are written, once the writer has registered the series.
    handle: Handle<Histogram>,
}

/// Values that are to be written now, without a lock.
pub(super) struct Batch {
    pub(super) values: Vec<f64>,
    pub(super) handle: Guarded<Histogram>,
}

impl Values {
    /// Adds a value. Returns the batch that it completes.
    #[must_use]
    pub(super) fn push(&mut self, value: Duration) -> Option<Batch> {
        const BATCH: usize = 64;
        self.values.push(value.as_secs_f64());
        if self.values.len() < BATCH {
            return None;
        }
        let handle = self.copy_handle()?;
        Some(Batch { values: std::mem::take(&mut self.values), handle })
    }

    /// Takes the values. The handle stays.
    fn take(&mut self) -> Values {
        Values { values: std::mem::take(&mut self.values), handle: self.copy_handle() }
    }

    fn copy_handle(&self) -> Handle<Histogram> {
        // Counts a reference, which runs no code of the recorder.
        self.handle.as_ref().map(|handle| Guarded::new(Histogram::clone(handle)))
    }

    /// Whether the writer should leave a handle.
    pub(super) fn needs_handle(&self) -> bool {
        self.handle.is_none() && !self.values.is_empty()
    }
}

/// Facts that can be taken away.
pub(super) trait Facts: Default {
    /// Takes the facts. Handles stay.
    fn take(&mut self) -> Self;
}

impl Facts for TaskFacts {
    fn take(&mut self) -> Self {
        TaskFacts {
            launched: std::mem::take(&mut self.launched),
            completed: std::mem::take(&mut self.completed),
            retries: std::mem::take(&mut self.retries),
            queue: self.queue.each_mut().map(Values::take),
            run: self.run.each_mut().map(Values::take),
        }
    }
}

impl Facts for WorkerFacts {
    fn take(&mut self) -> Self {
        WorkerFacts { runs: std::mem::take(&mut self.runs), lateness: self.lateness.take() }
    }
}

/// The facts of one shard, by index.
struct Table<F> {
    entries: Vec<Option<Box<F>>>,
    /// The indices of the entries that have changed since they were taken.
    changed: Vec<u16>,
    is_changed: Vec<bool>,
}

impl<F: Facts> Table<F> {
    const fn new() -> Self {
        Table { entries: Vec::new(), changed: Vec::new(), is_changed: Vec::new() }
    }

    fn entry(&mut self, index: usize) -> &mut F {
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
            self.is_changed.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.is_changed[index], true) {
            self.changed.push(index as u16);
        }
        self.entries[index].get_or_insert_default()
    }

    fn get(&mut self, index: usize) -> Option<&mut F> {
        self.entries.get_mut(index)?.as_deref_mut()
    }

    fn take_changed(&mut self, shard: usize, taken: &mut Vec<Taken<F>>) {
        for index in self.changed.drain(..) {
            let index = usize::from(index);
            self.is_changed[index] = false;
            if let Some(entry) = &mut self.entries[index] {
                taken.push(Taken { shard, index, facts: entry.take() });
            }
        }
    }
}

struct Shard {
    /// The export has ended: what happens now is not counted.
    closed: bool,
    by_address: HashMap<(usize, usize), NameId, BuildHasherDefault<AddressHasher>>,
    by_content: HashMap<Arc<str>, NameId>,
    workers_by_content: HashMap<Arc<str>, NameId>,
    tasks: Table<TaskFacts>,
    workers: Table<WorkerFacts>,
}

/// Facts that were taken out of a shard.
pub(super) struct Taken<F> {
    pub(super) shard: usize,
    /// Of tasks, [`task_index`]; of background workers, the index of the name.
    pub(super) index: usize,
    pub(super) facts: F,
}

/// Everything that was taken. To be dropped without a lock, because handles are values of the
/// recorder.
#[derive(Default)]
pub(super) struct AllTaken {
    pub(super) tasks: Vec<Taken<TaskFacts>>,
    pub(super) workers: Vec<Taken<WorkerFacts>>,
}

/// Returns the index of the facts about the tasks of one name in one place.
fn task_index(name: NameId, tt: TaskType) -> usize {
    name.index() * PLACES + tt as usize
}

/// The inverse of [`task_index`]: the index of the name, and the word for the place.
pub(super) fn name_and_place(index: usize) -> (usize, &'static str) {
    let place = [TaskType::Async, TaskType::Thread, TaskType::Mp, TaskType::Remote]
        .into_iter()
        .find(|tt| *tt as usize == index % PLACES);
    (index / PLACES, place.map_or("", TaskType::as_str))
}

/// The series to which a fact about a task belongs.
pub(super) struct TaskKey<'a> {
    pub(super) name: &'a str,
    /// The name if it is part of the program.
    pub(super) static_name: Option<&'static str>,
    pub(super) tt: TaskType,
}

/// See the module documentation.
pub(super) struct Pending {
    shards: [CachePadded<Mutex<Shard>>; SHARDS],
    task_names: Names,
    worker_names: Names,
}

/// A histogram of a shard, where the writer leaves its handle.
pub(super) enum Slot {
    Queue(usize, Priority),
    Run(usize, Priority),
    Lateness(usize),
}

impl Pending {
    pub(super) fn new() -> Self {
        let shard = || {
            CachePadded::new(Mutex::new(Shard {
                closed: false,
                by_address: HashMap::default(),
                by_content: HashMap::new(),
                workers_by_content: HashMap::new(),
                tasks: Table::new(),
                workers: Table::new(),
            }))
        };
        Pending {
            shards: std::array::from_fn(|_| shard()),
            task_names: Names::new(),
            worker_names: Names::new(),
        }
    }

    pub(super) fn task_name(&self, index: usize) -> Arc<str> {
        self.task_names.name(index)
    }

    pub(super) fn worker_name(&self, index: usize) -> Arc<str> {
        self.worker_names.name(index)
    }

    /// Changes the facts about a task. Returns what `change` returned, and whether this was the
    /// first name beyond the limit. `None` if the export has ended.
    pub(super) fn task<T>(
        &self,
        task: &TaskKey<'_>,
        change: impl FnOnce(&mut TaskFacts) -> T,
    ) -> Option<(T, Limit)> {
        let shard = &mut *self.shards[shard()].lock();
        if shard.closed {
            return None;
        }
        let mut limit = Limit::Known;
        let address = task.static_name.map(|name| (name.as_ptr() as usize, name.len()));
        let known = address.and_then(|address| shard.by_address.get(&address).copied());
        let name = known.unwrap_or_else(|| {
            let name;
            (name, limit) = find_by_content(&mut shard.by_content, &self.task_names, task.name);
            if let Some(address) = address {
                if shard.by_address.len() >= MOST_ADDRESSES {
                    shard.by_address.clear();
                }
                shard.by_address.insert(address, name);
            }
            name
        });
        Some((change(shard.tasks.entry(task_index(name, task.tt))), limit))
    }

    /// The same for a background worker.
    pub(super) fn worker<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut WorkerFacts) -> T,
    ) -> Option<(T, Limit)> {
        let shard = &mut *self.shards[shard()].lock();
        if shard.closed {
            return None;
        }
        let names = &mut shard.workers_by_content;
        let (name, limit) = find_by_content(names, &self.worker_names, name);
        Some((change(shard.workers.entry(name.index())), limit))
    }

    /// Takes all facts.
    pub(super) fn take(&self) -> AllTaken {
        let mut taken = AllTaken::default();
        for (number, shard) in self.shards.iter().enumerate() {
            let shard = &mut *shard.lock();
            shard.tasks.take_changed(number, &mut taken.tasks);
            shard.workers.take_changed(number, &mut taken.workers);
        }
        taken
    }

    /// Forgets all facts and handles, and returns them to be dropped.
    #[must_use]
    pub(super) fn forget(&self) -> impl Sized {
        let forget = |shard: &CachePadded<Mutex<Shard>>| {
            let mut shard = shard.lock();
            let tasks = std::mem::replace(&mut shard.tasks, Table::new());
            (tasks, std::mem::replace(&mut shard.workers, Table::new()))
        };
        self.shards.iter().map(forget).collect::<Vec<_>>()
    }

    /// Counts nothing any more.
    pub(super) fn close(&self) {
        self.shards.iter().for_each(|shard| shard.lock().closed = true);
    }

    /// Leaves a handle for batches in a shard.
    pub(super) fn leave_handle(&self, shard: usize, slot: &Slot, handle: Guarded<Histogram>) {
        let mut handle = Some(handle);
        {
            let shard = &mut *self.shards[shard].lock();
            let values = match *slot {
                Slot::Queue(index, priority) => {
                    shard.tasks.get(index).map(|facts| &mut facts.queue[priority.index()])
                }
                Slot::Run(index, priority) => {
                    shard.tasks.get(index).map(|facts| &mut facts.run[priority.index()])
                }
                Slot::Lateness(index) => shard.workers.get(index).map(|facts| &mut facts.lateness),
            };
            if let Some(values) = values {
                // A handle that is there already is dropped without the lock.
                std::mem::swap(&mut values.handle, &mut handle);
            }
        }
        drop(handle);
    }
}

/// Finds a name in the names of a shard, or in those of all shards.
fn find_by_content(
    known: &mut HashMap<Arc<str>, NameId>,
    names: &Names,
    name: &str,
) -> (NameId, Limit) {
    if let Some(id) = known.get(name) {
        return (*id, Limit::Known);
    }
    let (id, limit) = names.id(name);
    if id != NameId::OTHER {
        known.insert(name.into(), id);
    }
    (id, limit)
}

/// Hashes the address and the length of a name.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, value: usize) {
        // Multiplication moves entropy to the upper bits, where the table looks for it.
        self.0 = (self.0.rotate_left(5) ^ value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    fn key<'a>(name: &'a str, static_name: Option<&'static str>) -> TaskKey<'a> {
        TaskKey { name, static_name, tt: TaskType::Mp }
    }

    #[test]
    fn names_are_found_by_address_and_by_content() {
        let pending = Pending::new();
        for name in ["a", "b", "a"] {
            pending.task(&key(name, Some(name)), |facts| facts.retries += 1).unwrap();
        }
        let created = String::from("a");
        pending.task(&key(&created, None), |facts| facts.retries += 1).unwrap();
        let mut counts: Vec<_> = pending.take().tasks;
        counts.sort_by_key(|taken| taken.index);
        let counts = counts.iter().map(|taken| {
            let (name, tt) = name_and_place(taken.index);
            (pending.task_name(name).to_string(), tt, taken.facts.retries)
        });
        assert_eq!(
            counts.collect::<Vec<_>>(),
            [("a".to_owned(), "mp", 3), ("b".to_owned(), "mp", 1)]
        );
        assert!(pending.take().tasks.is_empty());
    }

    #[test]
    fn closed_facts_are_not_counted() {
        let pending = Pending::new();
        pending.worker("w", |facts| facts.runs[0] += 1).unwrap();
        pending.close();
        assert!(pending.worker("w", |facts| facts.runs[0] += 1).is_none());
        assert_eq!(pending.take().workers[0].facts.runs, [1, 0]);
    }

    #[test]
    fn only_series_with_a_handle_have_batches() {
        let mut values = Values::default();
        for _ in 0..1_000 {
            assert!(values.push(Duration::from_secs(1)).is_none());
        }
        assert!(values.needs_handle());
        values.handle = Some(Guarded::new(Histogram::noop()));
        let batch = values.push(Duration::from_secs(1)).unwrap();
        assert_eq!((batch.values.len(), values.values.len()), (1_001, 0));
    }
}
