//! How many tasks a limit allows, as plain arithmetic: no clock, no lock.
//!
//! A rate is a token bucket. Its state is a *debt* that grows by the period for each token spent
//! and shrinks by the number of tokens per period with each nanosecond, so no division loses a
//! fraction. It is the bucket of the generic cell rate algorithm (ITU-T I.371), turned around: an
//! empty debt is a full bucket.

use std::time::Duration;

use crate::time::clock::Stamp;

/// The rule of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// The number of tasks that run at once.
    Concurrency(usize),
    /// The number of tasks that begin per period, and how many of them may begin at once.
    Rate { count: u32, per_nanos: u64, burst: u32 },
}

impl Rule {
    pub(super) const fn concurrency(tasks: usize) -> Rule {
        assert!(tasks > 0, "a limit of 0 tasks would never run one");
        Rule::Concurrency(tasks)
    }

    pub(super) const fn rate(count: u32, per: Duration) -> Rule {
        assert!(count > 0, "a rate of 0 tasks would never run one");
        assert!(!per.is_zero(), "the period of a rate is longer than zero");
        let nanos = per.as_nanos();
        assert!(nanos <= u64::MAX as u128, "the period of a rate is at most 584 years");
        Rule::Rate { count, per_nanos: nanos as u64, burst: count }
    }

    pub(super) const fn with_burst(self, tasks: u32) -> Rule {
        assert!(tasks > 0, "a burst of 0 tasks would never run one");
        match self {
            Rule::Rate { count, per_nanos, .. } => Rule::Rate { count, per_nanos, burst: tasks },
            Rule::Concurrency(_) => {
                panic!("only a rate has a burst: use `rate(n, period).burst(b)`")
            }
        }
    }
}

/// What is left of a limit.
#[derive(Debug)]
pub(super) struct Budget {
    rule: Rule,
    /// Of a concurrency: the number of tasks that hold it.
    held: usize,
    /// Of a rate: the spent tokens in units of a token per period, at `updated`.
    debt: u128,
    updated: Stamp,
}

impl Budget {
    pub(super) fn new(rule: Rule) -> Self {
        Budget { rule, held: 0, debt: 0, updated: 0 }
    }

    pub(super) fn rule(&self) -> Rule {
        self.rule
    }

    /// Returns the debt of a rate at this time. The time never goes back.
    fn debt_at(&self, count: u32, now: Stamp) -> u128 {
        let passed = u128::from(now.saturating_sub(self.updated));
        self.debt.saturating_sub(passed * u128::from(count))
    }

    /// Returns the number of tasks that may begin now.
    pub(super) fn free(&self, now: Stamp) -> usize {
        match self.rule {
            Rule::Concurrency(tasks) => tasks.saturating_sub(self.held),
            Rule::Rate { count, per_nanos, burst } => {
                let room = u128::from(burst) * u128::from(per_nanos);
                let left = room.saturating_sub(self.debt_at(count, now));
                (left / u128::from(per_nanos)) as usize
            }
        }
    }

    /// Takes one.
    pub(super) fn take(&mut self, now: Stamp) {
        match self.rule {
            Rule::Concurrency(_) => self.held += 1,
            Rule::Rate { count, per_nanos, .. } => {
                self.debt = self.debt_at(count, now) + u128::from(per_nanos);
                self.updated = self.updated.max(now);
            }
        }
    }

    /// Goes on with another clock, which reads `now` when the present one reads `before`.
    pub(super) fn change_clock(&mut self, before: Stamp, now: Stamp) {
        if let Rule::Rate { count, .. } = self.rule {
            self.debt = self.debt_at(count, before);
            self.updated = now;
        }
    }

    /// Gives one back. The token of a rate stays spent.
    pub(super) fn give_back(&mut self) {
        if let Rule::Concurrency(_) = self.rule {
            self.held -= 1;
        }
    }

    /// Returns when the next task may begin, if that is only a matter of time.
    pub(super) fn next_at(&self, now: Stamp) -> Option<Stamp> {
        let Rule::Rate { count, per_nanos, burst } = self.rule else { return None };
        let room = u128::from(burst - 1) * u128::from(per_nanos);
        let over = self.debt_at(count, now).saturating_sub(room);
        Some(now.saturating_add(nanos_until(over, count)))
    }

    /// Returns when the limit is as if it had never been used, if that is only a matter of time.
    pub(super) fn full_at(&self, now: Stamp) -> Option<Stamp> {
        match self.rule {
            Rule::Concurrency(_) => (self.held == 0).then_some(now),
            Rule::Rate { count, .. } => {
                Some(now.saturating_add(nanos_until(self.debt_at(count, now), count)))
            }
        }
    }
}

fn nanos_until(debt: u128, count: u32) -> u64 {
    u64::try_from(debt.div_ceil(u128::from(count))).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// In any window, at most the burst and what the window refills begin; and a task that
        /// waits as long as `next_at` says may begin then, and not a nanosecond before.
        #[test]
        fn rate_holds_over_any_window(
            count in 1_u32..50,
            per in 1_u64..2_000,
            burst in 1_u32..20,
            gaps in proptest::collection::vec(0_u64..500, 1..200),
        ) {
            let rule = Rule::rate(count, Duration::from_nanos(per)).with_burst(burst);
            let mut budget = Budget::new(rule);
            let mut now = 1;
            let mut begun = Vec::new();
            for gap in gaps {
                now += gap;
                if budget.free(now) > 0 {
                    budget.take(now);
                    begun.push(now);
                } else {
                    let next = budget.next_at(now).unwrap();
                    prop_assert!(next > now);
                    prop_assert_eq!(budget.free(next - 1), 0);
                    prop_assert!(budget.free(next) > 0);
                }
            }
            for (i, from) in begun.iter().enumerate() {
                for (j, to) in begun.iter().enumerate().skip(i) {
                    let refilled = u128::from(to - from) * u128::from(count);
                    let most = u128::from(burst) * u128::from(per) + refilled;
                    prop_assert!((j - i + 1) as u128 * u128::from(per) <= most);
                }
            }
            let full = budget.full_at(now).unwrap();
            prop_assert_eq!(budget.free(full), burst as usize);
        }
    }

    #[test]
    fn concurrency_counts_holders() {
        let mut budget = Budget::new(Rule::concurrency(2));
        budget.take(5);
        budget.take(5);
        assert_eq!((budget.free(9), budget.next_at(9), budget.full_at(9)), (0, None, None));
        budget.give_back();
        assert_eq!(budget.free(9), 1);
        budget.give_back();
        assert_eq!(budget.full_at(9), Some(9));
    }

    #[test]
    fn huge_rates_do_not_overflow() {
        let rule = Rule::rate(u32::MAX, Duration::from_nanos(u64::MAX)).with_burst(u32::MAX);
        let mut budget = Budget::new(rule);
        budget.take(1);
        assert_eq!(budget.free(1), u32::MAX as usize - 1);
        assert!(budget.full_at(u64::MAX).is_some());
    }
}
