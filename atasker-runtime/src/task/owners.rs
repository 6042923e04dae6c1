//! Who looks after which tasks, by a key that a task keeps in its header.
//!
//! A task does not hold its supervisor by a count of references: all launches and all ends would
//! change that one count, from all threads. It knows a key; the supervisor stays for as long as
//! tasks of its are booked, because its stop waits for them. Threads that work for one supervisor
//! (a pool's, a link's, a loop's) keep it at hand, so that the end of a task looks nothing up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::task::Owner;

/// Names an owner. Never used again for another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct OwnerKey(NonZeroU64);

struct Owners {
    by_key: BTreeMap<OwnerKey, Weak<dyn Owner>>,
    last: u64,
}

static OWNERS: RwLock<Owners> = RwLock::new(Owners { by_key: BTreeMap::new(), last: 0 });

thread_local! {
    static AT_HAND: RefCell<Option<(OwnerKey, Arc<dyn Owner>)>> = const { RefCell::new(None) };
}

/// A key for a new owner.
pub(crate) fn register(owner: Weak<dyn Owner>) -> OwnerKey {
    let mut owners = OWNERS.write();
    owners.last += 1;
    let key = OwnerKey(NonZeroU64::new(owners.last).expect("more than none"));
    owners.by_key.insert(key, owner);
    key
}

/// The owner of this key is about to be gone.
pub(crate) fn forget(key: OwnerKey) {
    let gone = OWNERS.write().by_key.remove(&key);
    drop(gone);
}

/// The owner of this key, if it is still there.
pub(crate) fn get(key: OwnerKey) -> Option<Arc<dyn Owner>> {
    with(key, Arc::clone)
}

/// Does something with the owner of this key, if it is still there.
pub(crate) fn with<T>(key: OwnerKey, f: impl FnOnce(&Arc<dyn Owner>) -> T) -> Option<T> {
    let mut f = Some(f);
    let near = AT_HAND.try_with(|at_hand| match &*at_hand.borrow() {
        Some((near, owner)) if *near == key => f.take().map(|f| f(owner)),
        _ => None,
    });
    if let Ok(Some(done)) = near {
        return Some(done);
    }
    let owner = OWNERS.read().by_key.get(&key).and_then(Weak::upgrade)?;
    f.map(|f| f(&owner))
}

/// This thread works for one owner until the guard is dropped.
pub(crate) fn work_for(key: OwnerKey) -> WorksFor {
    let owner = get(key).map(|owner| (key, owner));
    WorksFor { before: AT_HAND.with(|at_hand| at_hand.replace(owner)) }
}

/// See [`work_for`].
pub(crate) struct WorksFor {
    before: Option<(OwnerKey, Arc<dyn Owner>)>,
}

impl Drop for WorksFor {
    fn drop(&mut self) {
        let before = self.before.take();
        // Dropped outside the borrow: it may be the owner's end.
        let owner = AT_HAND.try_with(|at_hand| at_hand.replace(before));
        drop(owner);
    }
}
