//! The order in which calls begin that are claimed at the same time.
//!
//! Calls are taken several at once, and their claims may be answered in any order. A call waits for
//! those that were taken before it and are as urgent: they would begin later otherwise, although they
//! were first in their queue. It does not wait for one whose claim takes long, because another node
//! holds it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::priority::Priority;

/// The calls that are being claimed, by priority, in the order in which they were taken.
#[derive(Debug, Default)]
pub(super) struct Order {
    claiming: RefCell<[BTreeSet<u64>; 4]>,
    last: Cell<u64>,
    left: Notify,
}

/// The turn of a call, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    order: Rc<Order>,
    priority: Priority,
    number: u64,
}

impl Order {
    /// Returns the turn of a call that was taken now.
    pub(super) fn enter(self: &Rc<Self>, priority: Priority) -> Turn {
        let number = self.last.get() + 1;
        self.last.set(number);
        self.claiming.borrow_mut()[priority.index()].insert(number);
        Turn { order: self.clone(), priority, number }
    }
}

impl Turn {
    fn has_come(&self) -> bool {
        let claiming = self.order.claiming.borrow();
        let as_urgent = &claiming[self.priority.index()..];
        as_urgent.iter().all(|calls| calls.first().is_none_or(|first| *first >= self.number))
    }

    /// Waits until no call is before this one.
    pub(super) async fn come(self) {
        loop {
            let left = self.order.left.notified();
            if self.has_come() {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.order.claiming.borrow_mut()[self.priority.index()].remove(&self.number);
        self.order.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    #[test]
    fn calls_come_by_priority_and_in_order() {
        let order = Rc::new(Order::default());
        let low = order.enter(Priority::Low);
        let [first, second] = [Priority::Normal; 2].map(|priority| order.enter(priority));
        let high = order.enter(Priority::High);
        let last = order.enter(Priority::Low);
        let come = |turns: &[&Turn]| turns.iter().map(|turn| turn.has_come()).collect::<Vec<_>>();
        // A later one that is more urgent is not waited for, because it may be claimed much later.
        assert_eq!(come(&[&low, &first, &second, &high, &last]), [true, true, false, true, false]);
        drop(first);
        assert_eq!(come(&[&second, &last]), [true, false]);
        drop((low, second));
        assert!(!last.has_come());
        drop(high);
        assert!(last.has_come());
    }

    #[test]
    fn turn_comes_when_the_one_before_leaves() {
        let order = Rc::new(Order::default());
        let [first, second] = [Priority::Normal; 2].map(|priority| order.enter(priority));
        let mut context = Context::from_waker(Waker::noop());
        let mut second = std::pin::pin!(second.come());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_ready());
        assert!(order.claiming.borrow().iter().all(|calls| calls.is_empty()));
    }
}
