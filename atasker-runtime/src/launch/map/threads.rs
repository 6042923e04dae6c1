//! Maps on the threads of a supervisor.

use std::any::type_name;
use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::MapOptions;
use super::helpers::{Helper, Helpers, SPLIT_AFTER};
use super::pace::Pace;
use super::parts::{Parts, Slot};
use crate::error::TaskError;
use crate::fork;
use crate::launch::scope::{self, Leaked, Scope};
use crate::place::WhenFull;
use crate::priority::Priority;
use crate::task::{TaskArc, current, park};
use crate::unwind::{self, discard};

/// A map in progress.
struct Map<'a, T, R, F> {
    f: &'a F,
    name: Cow<'static, str>,
    priority: Priority,
    parts: Parts<'a, T, Result<R, TaskError>>,
    helpers: Helpers,
    /// The number of items without a result.
    left: AtomicUsize,
}

/// Runs a map on the threads of a supervisor.
#[track_caller]
pub(super) fn run<T, R, F>(
    items: impl IntoIterator<Item = T>,
    f: &F,
    options: MapOptions,
) -> Vec<Result<R, TaskError>>
where
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    // Each helper has a part, and a pool may have any number of slots.
    const MOST_HELPERS: usize = 1024;
    park::assert_may_block("map");
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let count = items.len();
    let mut results = Vec::with_capacity(count);
    if count == 0 {
        return results;
    }
    let core = options.core();
    let most = core.thread_slots(options.priority).min(count).clamp(1, MOST_HELPERS);
    let map = Map {
        f,
        name: options.name.unwrap_or(Cow::Borrowed(type_name::<F>())),
        priority: options.priority,
        parts: Parts::new(&mut items, &mut results.spare_capacity_mut()[..count], most),
        helpers: Helpers::new(most),
        left: AtomicUsize::new(count),
    };
    let first = scope::run(&core, Leaked::Ignore, |s| {
        let first = map.launch(s, map.helpers.first(), WhenFull::Wait);
        map.helpers.supervise(|| map.grow(s), || s.run_inline());
        first
    });
    let left = map.fill_rest(|| first.error().cloned().unwrap_or(TaskError::Canceled));
    assert_eq!(left, 0, "each item has a result");
    // SAFETY: `count` slots were written, each of them once, because a slot is consumed when it is
    // written. There are no more than `count`, so all of them are initialized, and no reference to
    // one is left. The capacity is at least `count`.
    unsafe { results.set_len(count) };
    results
}

impl<'a, T: Send, R: Send, F: Fn(T) -> R + Sync> Map<'a, T, R, F> {
    /// Launches a helper.
    fn launch<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        helper: Helper<'scope>,
        when_full: WhenFull,
    ) -> TaskArc {
        let builder = scope.builder(move || self.work(scope, &helper));
        builder.name(self.name.clone()).priority(self.priority).start_quiet(when_full)
    }

    /// Launches another helper, if one may help.
    fn grow<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        if let Some(helper) = self.helpers.next() {
            // Never blocks: the items may be done before there is room in the queue.
            self.helpers.launched(self.launch(scope, helper, WhenFull::NoWait));
        }
    }

    /// The function of a helper.
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, helper: &Helper<'scope>) {
        helper.begin();
        let (part, mut pace) = (helper.number, Pace::new());
        let mut has_items = part == 0 || self.parts.steal(part);
        while has_items {
            if self.helpers.is_open() && self.parts.len(part) > 1 {
                self.grow(scope);
            }
            let (filled, is_stopped) = self.run_part(part, &mut pace, scope);
            self.record(filled);
            if is_stopped {
                return;
            }
            has_items = self.parts.steal(part);
        }
        self.helpers.settle();
    }

    /// Runs the items of a part, until none is left or the task is asked to stop. Returns the number
    /// of results, and whether it was asked to stop.
    fn run_part<'scope>(
        &'scope self,
        part: usize,
        pace: &mut Pace,
        scope: &'scope Scope<'scope, '_>,
    ) -> (usize, bool) {
        let (mut filled, mut running) = (0, None);
        loop {
            // Not around each item, which would take about as long as a very short one.
            let outcome =
                unwind::catch(|| self.run_items(part, pace, scope, &mut filled, &mut running));
            fork::end_if_copy();
            match (outcome, running.take()) {
                (Ok(is_stopped), _) => return (filled, is_stopped),
                (Err(error), Some(slot)) => {
                    slot.fill(Err(error));
                    filled += 1;
                }
                // Not the panic of an item.
                (Err(_), None) => return (filled, true),
            }
        }
    }

    /// The same, until a panic. `running` is the slot of the item that runs.
    fn run_items<'scope>(
        &'scope self,
        part: usize,
        pace: &mut Pace,
        scope: &'scope Scope<'scope, '_>,
        filled: &mut usize,
        running: &mut Option<Slot<'a, Result<R, TaskError>>>,
    ) -> bool {
        while let Some((item, slot)) = self.parts.next(part) {
            *running = Some(slot);
            let result = (self.f)(item);
            // The items belong to the parent of a copy.
            fork::end_if_copy();
            if let Some(slot) = running.take() {
                slot.fill(Ok(result));
                *filled += 1;
            }
            let Some(per_item) = pace.measure() else { continue };
            if current::with(|task| task.is_some_and(|task| task.state.read().stopped())) {
                return true;
            }
            if !self.helpers.is_open() && takes(per_item, self.parts.len(part)) > SPLIT_AFTER {
                self.helpers.open();
                self.grow(scope);
            }
        }
        false
    }

    /// Records that items have got results.
    fn record(&self, filled: usize) {
        // Relaxed: read after the scope has returned.
        self.left.fetch_sub(filled, Ordering::Relaxed);
    }

    /// Fills the slots of items that no helper has begun. Returns the number of items that have no
    /// result even then.
    fn fill_rest(self, error: impl Fn() -> TaskError) -> usize {
        let mut left = self.left.into_inner();
        for (item, slot) in self.parts.into_rest() {
            discard(item);
            slot.fill(Err(error()));
            left -= 1;
        }
        left
    }
}

/// Returns how long that many items take.
fn takes(per_item: Duration, items: usize) -> Duration {
    per_item.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX))
}
