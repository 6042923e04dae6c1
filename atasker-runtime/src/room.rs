//! The waiting room of a queue with a limit: launches that wait until the queue has room.
//!
//! A launch waits as a thread or as a future; either is a waker here. The room is under the lock of
//! its pool, which wakes launches without it. A launch that was woken checks again, and may have to
//! wait again, because another one was faster.
//!
//! **Who is woken.** After each change that may make room, the pool wakes as many launches as it has
//! room for: those of the highest priority, in the order of their arrival. If it woke all of them, a
//! change would cost as much as there are launches. A launch that leaves without having been
//! launched passes its wake-up on, so no room stays unused.
//!
//! **Reservations.** A future checks for room before its task exists, so that nothing is launched if
//! it is dropped. From then until the job is in the queue, a reservation keeps the room for it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::task::Waker;

use crate::priority::Priority;
use crate::task::waiters::WaiterKey;

/// A launch that waits. The order is that in which launches get room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Launcher {
    priority: Reverse<Priority>,
    key: WaiterKey,
    has_limit: bool,
}

impl Launcher {
    /// `has_limit` says whether the task shares a limit with others. It may have to wait for that, so a
    /// free slot is no room for it.
    pub(crate) fn new(priority: Priority, has_limit: bool) -> Launcher {
        Launcher { priority: Reverse(priority), key: WaiterKey::next(), has_limit }
    }

    pub(crate) fn priority(self) -> Priority {
        self.priority.0
    }

    pub(crate) fn has_limit(self) -> bool {
        self.has_limit
    }

    pub(crate) fn key(self) -> WaiterKey {
        self.key
    }
}

/// See the module's documentation.
#[derive(Default, Debug)]
pub(crate) struct WaitingRoom {
    launchers: BTreeMap<Launcher, Waker>,
}

impl WaitingRoom {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.launchers.is_empty()
    }

    /// Returns the number of launches that wait.
    #[cfg_attr(not(feature = "mp"), allow(dead_code))]
    pub(crate) fn len(&self) -> usize {
        self.launchers.len()
    }

    /// Lets a launch wait, or replaces its waker and returns the old one.
    #[must_use = "a waker's destructor can run user code: drop it outside the pool's lock"]
    pub(crate) fn enter(&mut self, launcher: Launcher, waker: Waker) -> Option<Waker> {
        self.launchers.insert(launcher, waker)
    }

    /// Removes a launch that waits no longer. Returns its waker, unless it was woken.
    #[must_use = "a waker's destructor can run user code: drop it outside the pool's lock"]
    pub(crate) fn leave(&mut self, launcher: Launcher) -> Option<Waker> {
        self.launchers.remove(&launcher)
    }

    /// Takes out the first launches while `has_room`, which is called with a launch and the number of
    /// those before it that were taken out. One with a limit that has no room is passed over, because a
    /// slot may be free for those behind it.
    #[must_use = "the launches must be woken"]
    pub(crate) fn take_while(
        &mut self,
        mut has_room: impl FnMut(Launcher, usize) -> bool,
    ) -> Vec<Waker> {
        let mut taken = Vec::new();
        let mut passed = Vec::new();
        while let Some((launcher, waker)) = self.launchers.pop_first() {
            if has_room(launcher, taken.len()) {
                taken.push(waker);
                continue;
            }
            passed.push((launcher, waker));
            if !launcher.has_limit {
                break;
            }
        }
        self.launchers.extend(passed);
        taken
    }

    /// Takes out all launches.
    #[must_use = "the launches must be woken"]
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.launchers).into_values().collect()
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(Priority),
        /// The launch with this number, of those that wait, leaves.
        Leave(usize),
        /// There is room for this many launches, and for one more of high priority.
        Room(usize),
        All,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let priority = prop::sample::select(Priority::ALL.to_vec());
        let step = prop_oneof![
            4 => priority.prop_map(Step::Enter),
            1 => (0_usize..8).prop_map(Step::Leave),
            2 => (0_usize..4).prop_map(Step::Room),
            1 => Just(Step::All),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// The model is a list that is sorted by priority, and stable.
        #[test]
        fn launches_get_room_by_priority_then_arrival(steps in steps()) {
            let mut room = WaitingRoom::default();
            let mut model: Vec<(Launcher, Priority, Arc<Wakes>)> = Vec::new();
            for step in steps {
                let woken = match step {
                    Step::Enter(priority) => {
                        let (launcher, wakes) = (Launcher::new(priority, false), Arc::new(Wakes::default()));
                        prop_assert!(room.enter(launcher, Arc::clone(&wakes).into()).is_none());
                        prop_assert!(room.enter(launcher, Arc::clone(&wakes).into()).is_some());
                        model.push((launcher, priority, wakes));
                        model.sort_by_key(|(_, priority, _)| Reverse(*priority));
                        continue;
                    }
                    Step::Leave(number) => {
                        if number < model.len() {
                            let (launcher, ..) = model.remove(number);
                            prop_assert!(room.leave(launcher).is_some());
                            prop_assert!(room.leave(launcher).is_none());
                        }
                        continue;
                    }
                    Step::Room(places) => {
                        let fits = |priority, before| {
                            before < places || before == places && priority >= Priority::High
                        };
                        let count = (0..model.len()).take_while(|n| fits(model[*n].1, *n)).count();
                        let wakers = room.take_while(|launcher, n| fits(launcher.priority(), n));
                        prop_assert_eq!(wakers.len(), count);
                        wakers.into_iter().for_each(Waker::wake);
                        count
                    }
                    Step::All => {
                        room.take_all().into_iter().for_each(Waker::wake);
                        model.len()
                    }
                };
                for (_, _, wakes) in model.drain(..woken) {
                    prop_assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
                }
                for (_, _, wakes) in &model {
                    prop_assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
                }
                prop_assert_eq!(room.len(), model.len());
                prop_assert_eq!(room.is_empty(), model.is_empty());
            }
        }
    }
}
