//! The failures that a broker in memory is told to make.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

/// The failures in effect.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) lose: f64,
    pub(super) repeat: f64,
    pub(super) delay: Duration,
    pub(super) reorder: bool,
    pub(super) stopped: bool,
    pub(super) frozen: BTreeSet<String>,
    pub(super) random: fastrand::Rng,
    /// Is notified when the broker is started, and when a member is thawed.
    changed: Arc<Notify>,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            lose: 0.0,
            repeat: 0.0,
            delay: Duration::ZERO,
            reorder: false,
            stopped: false,
            frozen: BTreeSet::new(),
            random: fastrand::Rng::with_seed(0),
            changed: Arc::default(),
        }
    }
}

impl Script {
    /// Returns whether nothing fails.
    pub(super) fn is_calm(&self) -> bool {
        !self.stopped
            && self.frozen.is_empty()
            && self.lose == 0.0
            && self.repeat == 0.0
            && self.delay.is_zero()
            && !self.reorder
    }

    pub(super) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    pub(super) fn loses(&mut self) -> bool {
        self.lose > 0.0 && self.random.f64() < self.lose
    }

    pub(super) fn repeats(&mut self) -> bool {
        self.repeat > 0.0 && self.random.f64() < self.repeat
    }

    /// Returns how often a message arrives.
    pub(super) fn copies(&mut self) -> u32 {
        match (self.loses(), self.repeats()) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        }
    }

    /// Returns how much longer something is under way.
    pub(super) fn random_delay(&mut self) -> Duration {
        let jitter = if self.reorder { Duration::from_millis(20) } else { Duration::ZERO };
        let most = self.delay.max(jitter);
        if most.is_zero() {
            return most;
        }
        // Without reordering everything takes the same time, so that it stays in order.
        if self.reorder { most.mul_f64(self.random.f64()) } else { most }
    }

    pub(super) fn is_frozen(&self, names: &[String]) -> bool {
        !self.frozen.is_empty() && names.iter().any(|name| self.frozen.contains(name))
    }
}
