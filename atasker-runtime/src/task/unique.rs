//! Unique tasks: at most one live task per name and key in a supervisor.
//!
//! A launch *claims* its key: it searches the map of its supervisor for a task with an equal key,
//! and enters its own if there is none. The claim is released directly before the end of the task
//! is published, so a thread that sees the end can launch a task with that key.
//!
//! Keys belong to the user, and so do their `Hash`, `Eq` and `Drop`, which must not run under a
//! lock. The map therefore does not know them: it maps the hash of name and key, computed before,
//! to the tasks with that hash. A launch copies their list, compares its key with theirs without
//! the lock, and enters its key only if no other task was entered meanwhile; otherwise it compares
//! that one, too. Tasks in a list have ascending numbers, by which a launch knows which ones are
//! new.
//!
//! ```text
//!          launch              entered              end
//!   Key ----------> Claiming ------------> Claimed -----> Over
//!    ^                |  |                                 ^
//!    |  held already  |  | `Hash` or `Eq` has panicked     |
//!    +----------------+  +-----------------> Failed -------+
//! ```

use std::any::{Any, TypeId};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;

use crate::error::TaskError;
use crate::fork;
use crate::sync::lock::Mutex;
use crate::task::TaskArc;
use crate::task::arc::TaskWeak;
use crate::task::header::Header;
#[cfg(feature = "remote")]
use crate::task::portable_hash::PortableHasher;
use crate::unwind::{self, Guarded};

/// A key of any type. Keys of different types are never equal.
pub(crate) trait AnyKey: Send + Sync {
    fn hash_into(&self, hasher: &mut dyn Hasher);
    /// Hashes the key alone, which says the same about it in every program.
    #[cfg(feature = "remote")]
    fn hash_value_into(&self, hasher: &mut dyn Hasher);
    fn equals(&self, other: &dyn AnyKey) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<K: Hash + Eq + Send + Sync + 'static> AnyKey for K {
    fn hash_into(&self, mut hasher: &mut dyn Hasher) {
        TypeId::of::<K>().hash(&mut hasher);
        self.hash(&mut hasher);
    }

    #[cfg(feature = "remote")]
    fn hash_value_into(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }

    fn equals(&self, other: &dyn AnyKey) -> bool {
        other.as_any().downcast_ref::<K>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A key, dropped with care wherever that happens.
type Key = Guarded<Box<dyn AnyKey>>;

/// The key of one task. See the states in the module's documentation.
#[derive(Default)]
pub(crate) struct UniqueSlot(Mutex<Stage>);

#[derive(Default)]
enum Stage {
    /// The task is not unique.
    #[default]
    None,
    Key(Key),
    /// The launching thread has taken out the key.
    Claiming,
    /// The claim is released when it is dropped.
    #[allow(dead_code)]
    Claimed(Claim),
    Failed(TaskError),
    Over,
}

impl UniqueSlot {
    pub(crate) fn set(&mut self, key: impl Hash + Eq + Send + Sync + 'static) {
        let before = std::mem::replace(self.0.get_mut(), Stage::Key(Guarded::new(Box::new(key))));
        drop(before);
    }

    fn replace(&self, stage: Stage) -> Stage {
        std::mem::replace(&mut *self.0.lock(), stage)
    }

    /// Returns whether the task has a key, or had one.
    pub(crate) fn is_set(&self) -> bool {
        !matches!(*self.0.lock(), Stage::None)
    }

    /// Lets the launch that follows fail with this error.
    pub(crate) fn fail(&self, error: TaskError) {
        self.advance(Stage::Failed(error));
    }

    /// Takes the key out, and returns the hash of it and of the name of its task that identifies the
    /// key in all programs. `None` if the task is not unique. Calls `Hash` of the key.
    #[cfg(feature = "remote")]
    pub(crate) fn take_portable(&self, name: &str) -> Result<Option<[u8; 16]>, TaskError> {
        let key = {
            let mut stage = self.0.lock();
            match std::mem::replace(&mut *stage, Stage::Claiming) {
                Stage::Key(key) => key,
                Stage::Failed(error) => return Err(error),
                other => {
                    *stage = other;
                    return Ok(None);
                }
            }
        };
        let mut hasher = PortableHasher::default();
        hasher.write_bytes(name.as_bytes());
        unwind::catch(|| key.hash_value_into(&mut hasher))?;
        Ok(Some(hasher.finish_all()))
    }

    /// Sets the stage that follows `Claiming`, unless the task has ended meanwhile.
    fn advance(&self, next: Stage) {
        let mut stage = self.0.lock();
        let unused = match *stage {
            Stage::Over => next,
            _ => std::mem::replace(&mut *stage, next),
        };
        // A claim that is not needed is released, which drops the key, without the lock.
        drop(stage);
        drop(unused);
    }

    /// Releases the claim of a task that is about to end.
    pub(crate) fn release(&self) {
        if !fork::is_copy() {
            // The stage before is dropped without the lock.
            self.replace(Stage::Over);
        }
    }
}

/// The unique tasks of a supervisor.
#[derive(Default)]
pub(crate) struct UniqueTasks {
    hasher: RandomState,
    /// By the hash of name and key. Created when it is first needed, because it is large on a
    /// machine with many CPUs.
    holders: OnceLock<DashMap<u64, Numbered>>,
    /// The last number in a list of `holders`.
    last: AtomicU64,
    live: AtomicUsize,
    /// The largest number of live unique tasks since the memory of the map was last returned.
    peak: AtomicUsize,
}

/// A task that holds its key, or is about to claim it.
struct Holder {
    key: Key,
    task: TaskWeak,
}

/// The tasks with one hash, in ascending order of their numbers.
type Numbered = Vec<(u64, Arc<Holder>)>;

/// The claim of a task. Dropping it makes the key free again.
struct Claim {
    tasks: Arc<UniqueTasks>,
    hash: u64,
    holder: Arc<Holder>,
}

/// Why a key could not be claimed.
pub(crate) enum Refused {
    /// This task holds it.
    Held(TaskArc),
    /// `Hash` or `Eq` of the key panicked.
    Failed(TaskError),
}

impl From<Refused> for TaskError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Held(task) => TaskError::Duplicate { id: task.header().id() },
            Refused::Failed(error) => error,
        }
    }
}

/// Returns the slot for the key of a task, if the task may have one.
pub(crate) fn slot_of(header: &Header) -> Option<&UniqueSlot> {
    header.policies().map(|policies| &policies.unique)
}

impl UniqueTasks {
    /// Claims the key of a task that is being launched, if it has one. Calls `Hash` and `Eq` of
    /// keys.
    pub(crate) fn claim(self: &Arc<Self>, task: &TaskArc) -> Result<(), Refused> {
        let Some(slot) = slot_of(task.header()).filter(|slot| slot.is_set()) else { return Ok(()) };
        let key = {
            let mut stage = slot.0.lock();
            match std::mem::replace(&mut *stage, Stage::Claiming) {
                Stage::Key(key) => key,
                Stage::Failed(error) => return Err(Refused::Failed(error)),
                // It was claimed by `start_unique`, or the task was ended by another thread.
                other => {
                    *stage = other;
                    return Ok(());
                }
            }
        };
        let name = task.header().name();
        let hash = unwind::catch(|| {
            let mut hasher = self.hasher.build_hasher();
            name.hash(&mut hasher);
            key.hash_into(&mut hasher);
            hasher.finish()
        });
        let hash = hash.map_err(Refused::Failed)?;
        let holder = Arc::new(Holder { key, task: task.downgrade() });
        let refused = match self.enter(hash, name, &holder) {
            Ok(claim) => {
                slot.advance(Stage::Claimed(claim));
                return Ok(());
            }
            Err(refused) => refused,
        };
        // It was not entered, so there is no other reference.
        if let Some(Holder { key, .. }) = Arc::into_inner(holder) {
            slot.advance(Stage::Key(key));
        }
        Err(refused)
    }

    /// Enters a holder, unless another task of this name holds an equal key.
    fn enter(
        self: &Arc<Self>,
        hash: u64,
        name: &str,
        holder: &Arc<Holder>,
    ) -> Result<Claim, Refused> {
        let holders = self.holders.get_or_init(DashMap::new);
        let mut compared = 0;
        loop {
            let new: Vec<_> = {
                // Under the lock of the map's shard, as long as this entry lives.
                let mut list = holders.entry(hash).or_default();
                if list.last().is_none_or(|(number, _)| *number <= compared) {
                    // Relaxed, because the lock orders the numbers in a list.
                    let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
                    list.push((number, Arc::clone(holder)));
                    break;
                }
                list.iter().filter(|(number, _)| *number > compared).cloned().collect()
            };
            for (number, other) in new {
                compared = number;
                // A task that is gone has released its key.
                let Some(task) = other.task.upgrade() else { continue };
                if task.header().name() != name {
                    continue;
                }
                match unwind::catch(|| holder.key.equals(&**other.key)) {
                    Ok(false) => {}
                    Ok(true) => return Err(Refused::Held(task)),
                    Err(error) => return Err(Refused::Failed(error)),
                }
            }
        }
        // Relaxed: these numbers only decide when memory is returned.
        let live = self.live.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(live, Ordering::Relaxed);
        Ok(Claim { tasks: Arc::clone(self), hash, holder: Arc::clone(holder) })
    }

    fn remove(&self, hash: u64, holder: &Arc<Holder>) {
        let Some(holders) = self.holders.get() else { return };
        let removed = match holders.entry(hash) {
            MapEntry::Vacant(_) => None,
            MapEntry::Occupied(mut entry) => {
                let list = entry.get_mut();
                let at = list.iter().position(|(_, other)| Arc::ptr_eq(other, holder));
                let removed = at.map(|at| list.remove(at));
                if list.is_empty() {
                    entry.remove();
                }
                removed
            }
        };
        // The key is dropped with its last reference: by the claim, or by a thread that compares it.
        drop(removed);
        /// The map of fewer keys is small anyway.
        const MANY: usize = 1024;
        let live = self.live.fetch_sub(1, Ordering::Relaxed) - 1;
        if live == 0 && self.peak.load(Ordering::Relaxed) >= MANY {
            self.peak.store(0, Ordering::Relaxed);
            holders.shrink_to_fit();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // In a forked process, a thread that does not exist there may hold a lock of the map.
        if !fork::is_copy() {
            self.tasks.remove(self.hash, &self.holder);
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use crate::{PoolConfig, Supervisor, Task, TaskBuilder};

    #[cfg(feature = "remote")]
    #[test]
    fn portable_hash_depends_on_name_and_value_alone() {
        use super::{TaskError, UniqueSlot};
        use std::hash::Hash;
        fn hash(name: &str, key: impl Hash + Eq + Send + Sync + 'static) -> [u8; 16] {
            let mut slot = UniqueSlot::default();
            slot.set(key);
            let hash = slot.take_portable(name).unwrap().unwrap();
            assert_eq!(slot.take_portable(name), Ok(None), "it was taken out");
            hash
        }
        assert_eq!(hash("sync", 7_u64), hash("sync", 7_usize));
        assert_eq!(hash("sync", (7_u8, "a".to_owned())), hash("sync", (7_i64, "a")));
        let others = [
            hash("sync", 7),
            hash("sync", 8),
            hash("synd", 7),
            hash("sync", (7, 7)),
            hash("s", "7"),
        ];
        for (i, one) in others.iter().enumerate() {
            assert!(others[..i].iter().all(|other| other != one), "{i}");
        }
        // The same in every build.
        assert_eq!(hash("sync", 7), 0x195b_2199_ab60_1ee0_67d4_2d42_4a27_76b1_u128.to_be_bytes());

        #[derive(PartialEq, Eq)]
        struct Panics;
        impl Hash for Panics {
            fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
                panic!("no hash")
            }
        }
        let mut slot = UniqueSlot::default();
        slot.set(Panics);
        let error: TaskError = slot.take_portable("sync").unwrap_err();
        assert!(error.is_panic());
    }

    #[test]
    fn keys_that_are_free_take_no_memory() {
        let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let busy = sup.spawn(move || gate.recv());
        let start = |key: u32| TaskBuilder::new(|| ()).unique(key).supervisor(&sup).start_unique();
        let tasks: Vec<Task<()>> = (0..5_000).map(|key| start(key).unwrap()).collect();
        assert!((0..5_000).all(|key| start(key).is_err()));
        let holders = sup.core().unique.holders.get().unwrap();
        assert_eq!(holders.len(), 5_000);
        assert!(holders.iter().all(|list| list.len() == 1));
        open.send(()).unwrap();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        busy.join().unwrap().unwrap();
        assert_eq!((holders.len(), holders.capacity()), (0, 0));
    }
}
