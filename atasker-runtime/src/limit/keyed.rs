//! Limits by key: a gate for each key, which exists only while it is needed.
//!
//! The table holds weak references, so a key is forgotten when the last task that uses it is
//! dropped. The key of a rate is kept until its tokens are back: see [`Table::keep`].

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::budget::Rule;
use super::gate::{Gate, Position};
use super::pass::GateSource;
use crate::fork;
use crate::sync::lock::Mutex;
use crate::time::clock::{self, Stamp};
use crate::time::timer;
use crate::unwind::Guarded;

/// A limit for each key: for each tenant, host or file, for example.
///
/// Each key has its own [`Limit`](crate::Limit), all with the same rule. Within a priority, keys
/// take turns: a task that gets the limit of its key is queued behind the waiting tasks of other
/// keys, even if it was launched before them. A key takes no memory while none of its tasks waits or
/// runs and, for a rate, all of its tokens are back.
///
/// A keyed limit is usually a `static`. An `Arc<KeyedLimit<K>>` works as well.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{KeyedLimit, TaskBuilder};
///
/// static TENANT: KeyedLimit<String> = KeyedLimit::concurrency(2);
///
/// let builder = |tenant: &str| TaskBuilder::new(|| ()).limit(TENANT.key(tenant));
/// let tasks = ["a", "a", "a", "b"].map(|tenant| builder(tenant).start());
/// for task in tasks {
///     task.join().unwrap();
/// }
/// ```
pub struct KeyedLimit<K> {
    rule: Rule,
    table: OnceLock<Arc<Table<K>>>,
}

impl<K> KeyedLimit<K> {
    /// Creates a limit of the number of tasks of one key that run at once.
    ///
    /// # Panics
    ///
    /// Panics if `tasks` is 0. In a `static`, the program does not compile then.
    pub const fn concurrency(tasks: usize) -> Self {
        KeyedLimit { rule: Rule::concurrency(tasks), table: OnceLock::new() }
    }

    /// Creates a limit of the number of tasks of one key that begin per period. See
    /// [`Limit::rate`](crate::Limit::rate).
    ///
    /// # Panics
    ///
    /// Panics if `tasks` or `per` is 0. In a `static`, the program does not compile then.
    pub const fn rate(tasks: u32, per: Duration) -> Self {
        KeyedLimit { rule: Rule::rate(tasks, per), table: OnceLock::new() }
    }

    /// Sets how many tasks of one key may begin at once after a pause. See
    /// [`Limit::burst`](crate::Limit::burst).
    ///
    /// # Panics
    ///
    /// Panics if `tasks` is 0, and if the limit is not a rate. In a `static`, the program does not
    /// compile then.
    pub const fn burst(mut self, tasks: u32) -> Self {
        self.rule = self.rule.with_burst(tasks);
        self
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> KeyedLimit<K> {
    /// Returns the limit of this key, for [`TaskBuilder::limit`](crate::TaskBuilder::limit) and the
    /// key `limit` of the attribute.
    ///
    /// `key` may be a borrowed form of the key, as in a `HashMap`: a `KeyedLimit<String>` takes a
    /// `&str`. `Hash`, `Eq` and `ToOwned` of the key run here, without any lock.
    pub fn key<Q>(&self, key: &Q) -> LimitKey
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if fork::is_copy() {
            // A lock of the table may be held by a thread of the parent. No task is launched here.
            return LimitKey { source: Gate::new(self.rule, Position::AtEnd) };
        }
        let table = self.table.get_or_init(|| Arc::new(Table::default()));
        LimitKey { source: table.cell(key, self.rule) }
    }
}

impl<K> fmt::Debug for KeyedLimit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.table.get().map_or(0, |table| table.buckets.len());
        f.debug_struct("KeyedLimit").field("rule", &self.rule).field("keys", &keys).finish()
    }
}

/// The limit of one key. See [`KeyedLimit::key`].
#[derive(Clone)]
#[must_use = "the limit of a key does nothing until it is given to a task"]
pub struct LimitKey {
    pub(super) source: Arc<dyn GateSource>,
}

impl fmt::Debug for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitKey").finish_non_exhaustive()
    }
}

/// The keys with one hash. Replaced as a whole, so that it can be examined without the lock of the
/// map: `Eq` of the key is user code.
type Bucket<K> = Arc<[Weak<Cell<K>>]>;

struct Table<K> {
    hasher: RandomState,
    /// By the hash of the key.
    buckets: DashMap<u64, Bucket<K>>,
    kept: Mutex<Kept<K>>,
    removals: AtomicUsize,
}

/// The keys of a rate whose tokens are not back.
struct Kept<K> {
    cells: VecDeque<Arc<Cell<K>>>,
    has_timer: bool,
}

/// One key, and its gate.
struct Cell<K> {
    key: Guarded<K>,
    hash: u64,
    gate: Arc<Gate>,
    is_kept: AtomicBool,
    table: Weak<Table<K>>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Table {
            hasher: RandomState::new(),
            buckets: DashMap::new(),
            kept: Mutex::new(Kept { cells: VecDeque::new(), has_timer: false }),
            removals: AtomicUsize::new(0),
        }
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Table<K> {
    /// Returns the cell of a key, creating it if necessary.
    fn cell<Q>(self: &Arc<Self>, key: &Q, rule: Rule) -> Arc<Cell<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut created = None;
        loop {
            let seen = self.buckets.get(&hash).map(|bucket| Arc::clone(&bucket));
            let live = seen.iter().flat_map(|bucket| bucket.iter()).filter_map(Weak::upgrade);
            // Kept until the end of this round: the last reference drops the key, which is user code.
            let live: Vec<Arc<Cell<K>>> = live.collect();
            if let Some(found) = live.iter().find(|cell| (*cell.key).borrow() == key) {
                return Arc::clone(found);
            }
            let cell = created.get_or_insert_with(|| {
                Arc::new(Cell {
                    key: Guarded::new(key.to_owned()),
                    hash,
                    gate: Gate::new(rule, Position::AtEnd),
                    is_kept: AtomicBool::new(false),
                    table: Arc::downgrade(self),
                })
            });
            let cells = live.iter().chain([&*cell]).map(Arc::downgrade).collect();
            if self.replace(hash, seen.as_ref(), cells) {
                return Arc::clone(cell);
            }
        }
    }
}

impl<K> Table<K> {
    /// Replaces a bucket unless it has changed.
    fn replace(&self, hash: u64, seen: Option<&Bucket<K>>, cells: Vec<Weak<Cell<K>>>) -> bool {
        match (self.buckets.entry(hash), seen) {
            (Entry::Vacant(vacant), None) => {
                if !cells.is_empty() {
                    vacant.insert(cells.into());
                }
                true
            }
            (Entry::Occupied(mut occupied), Some(seen)) if Arc::ptr_eq(occupied.get(), seen) => {
                if cells.is_empty() {
                    occupied.remove();
                } else {
                    occupied.insert(cells.into());
                }
                true
            }
            _ => false,
        }
    }

    /// Removes the keys of a bucket that were dropped.
    fn clean(&self, hash: u64) {
        loop {
            let Some(seen) = self.buckets.get(&hash).map(|bucket| Arc::clone(&bucket)) else {
                return;
            };
            let live = seen.iter().filter(|cell| cell.strong_count() > 0).cloned().collect();
            if self.replace(hash, Some(&seen), live) {
                return self.count_removal();
            }
        }
    }
}

impl<K> Table<K> {
    /// Returns memory of the table every now and then, because a service that has seen many keys need
    /// not keep room for them.
    fn count_removal(&self) {
        const INTERVAL: usize = 1024;
        let removals = self.removals.fetch_add(1, Ordering::Relaxed);
        if removals % INTERVAL == INTERVAL - 1 && self.buckets.len() * 8 < self.buckets.capacity() {
            self.buckets.shrink_to_fit();
        }
    }
}

impl<K: Send + Sync + 'static> Table<K> {
    /// Keeps the key of a rate until its tokens are back at `until`. A key that is forgotten before
    /// would begin again with all its tokens.
    fn keep(self: &Arc<Self>, cell: Arc<Cell<K>>, until: Stamp) {
        if cell.is_kept.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut kept = self.kept.lock();
        kept.cells.push_back(cell);
        if !std::mem::replace(&mut kept.has_timer, true) {
            self.set_timer(until);
        }
    }

    fn set_timer(self: &Arc<Self>, at: Stamp) {
        let table = Arc::downgrade(self);
        timer::at(clock::instant(at), move || {
            if let Some(table) = table.upgrade() {
                table.forget_unused();
            }
        });
    }

    /// Forgets the keys that are as new, and looks at the others again later. One timer entry serves
    /// all keys.
    fn forget_unused(self: &Arc<Self>) {
        let mut cells = std::mem::take(&mut self.kept.lock().cells);
        let now = clock::now();
        let mut next = Stamp::MAX;
        cells.retain(|cell| {
            let stays = match cell.gate.full_in() {
                // In use: kept again when the last task leaves.
                None | Some(0) => false,
                Some(nanos) => {
                    next = next.min(now.saturating_add(nanos));
                    true
                }
            };
            if !stays {
                cell.is_kept.store(false, Ordering::Release);
            }
            stays
        });
        let retained = cells.len();
        let mut kept = self.kept.lock();
        kept.cells.append(&mut cells);
        kept.has_timer = !kept.cells.is_empty();
        if kept.has_timer {
            // At most twice a second, however many keys there are. A key that was added meanwhile may
            // be due before the others.
            let soonest = clock::add(now, Duration::from_millis(500));
            let is_known = kept.cells.len() == retained;
            self.set_timer(if is_known { next.max(soonest) } else { soonest });
        }
    }
}

impl<K: Send + Sync + 'static> GateSource for Cell<K> {
    fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    fn left(self: Arc<Self>) {
        if let Some(nanos @ 1..) = self.gate.full_in()
            && let Some(table) = self.table.upgrade()
        {
            table.keep(self, clock::now().saturating_add(nanos));
        }
    }
}

impl<K> Drop for Cell<K> {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade()
            && !fork::is_copy()
        {
            table.clean(self.hash);
        }
    }
}
