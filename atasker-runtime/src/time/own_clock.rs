//! The clock of a supervisor whose time a test moves. Pure: the real time is a parameter.
//!
//! A clock is *paused* at a time until it is moved, or *runs* along with the real time, at a
//! distance from it that earlier moves have left. In both states it is monotonic. It has its own
//! entries of the timer, whose deadlines are times of this clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::activity::{Activity, Busy, Until};
use super::clock::{self, Stamp};
use super::timer::{Action, TimerKey};

/// How the time of a clock follows from the real time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The time of the clock at `real`.
    at: Instant,
    real: Instant,
    runs: bool,
}

impl Reading {
    /// The reading of a clock that is paused at `time`.
    pub(crate) fn paused_at(time: Instant) -> Self {
        Reading { at: time, real: time, runs: false }
    }

    /// Returns the time of the clock.
    fn now(self, real: Instant) -> Instant {
        match self.runs {
            true => add(self.at, real.saturating_duration_since(self.real)),
            false => self.at,
        }
    }

    /// Returns the real time at which a clock that runs shows `time`.
    fn real(self, time: Instant) -> Instant {
        let left = time.saturating_duration_since(self.at);
        add(self.real, left)
    }

    /// Returns a time of the clock and the real time then.
    #[cfg_attr(not(has_processes), allow(dead_code))]
    pub(crate) fn stamps(self) -> (Stamp, Stamp) {
        (clock::stamp(self.at), clock::stamp(self.real))
    }

    /// Returns whether the clock runs along with the real time from then on.
    #[cfg_attr(not(has_processes), allow(dead_code))]
    pub(crate) fn runs(self) -> bool {
        self.runs
    }
}

/// Why a paused clock is moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Move {
    /// To the next due time. What begins from then on is a consequence.
    ToDueTime,
    /// To where an advance ends. What begins from then on is the affair of the test.
    ToEnd,
}

/// See the documentation of the module.
pub(super) struct OwnClock {
    reading: Reading,
    /// The time of day when the clock was paused, and the time of the clock then.
    wall: (SystemTime, Instant),
    due: BTreeMap<TimerKey, Action>,
    /// What was launched since the last advance and has to begin.
    launches: Arc<Activity>,
    /// What has begun since the clock was moved last and has to end.
    activity: Arc<Activity>,
    latest: Move,
}

impl OwnClock {
    /// Creates a clock that is paused at the real time.
    pub(super) fn paused(real: Instant, wall: SystemTime) -> Self {
        OwnClock {
            reading: Reading::paused_at(real),
            wall: (wall, real),
            due: BTreeMap::new(),
            launches: Arc::default(),
            activity: Arc::default(),
            latest: Move::ToEnd,
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        !self.reading.runs
    }

    pub(super) fn reading(&self) -> Reading {
        self.reading
    }

    pub(super) fn now(&self, real: Instant) -> Instant {
        self.reading.now(real)
    }

    /// Returns the time of day, which moves with the clock. `wall` is the real one.
    pub(super) fn wall(&self, real: Instant, wall: SystemTime) -> SystemTime {
        let now = self.now(real);
        let moved = match self.reading.runs {
            // As far from the real time of day as this clock is from the real one, so that the wall
            // clock can be set.
            true => match now.checked_duration_since(real) {
                Some(ahead) => wall.checked_add(ahead),
                None => wall.checked_sub(real.saturating_duration_since(now)),
            },
            false => self.wall.0.checked_add(now.saturating_duration_since(self.wall.1)),
        };
        moved.unwrap_or(wall)
    }

    /// Pauses a clock that runs.
    pub(super) fn pause(&mut self, real: Instant, wall: SystemTime) {
        let now = self.now(real);
        self.wall = (self.wall(real, wall), now);
        self.reading = Reading::paused_at(now);
        self.reset(Move::ToEnd);
    }

    fn reset(&mut self, latest: Move) {
        (self.launches, self.activity, self.latest) = (Arc::default(), Arc::default(), latest);
    }

    /// Lets a paused clock run.
    pub(super) fn resume(&mut self, real: Instant) {
        self.reading = Reading { at: self.reading.at, real, runs: true };
    }

    /// Moves a paused clock. What begins from now on belongs to a new activity, which is returned.
    pub(super) fn move_to(&mut self, time: Instant, why: Move) -> Arc<Activity> {
        self.reading.at = self.reading.at.max(time);
        self.reset(why);
        Arc::clone(&self.activity)
    }

    /// Returns what an advance of a paused clock waits for at present: what has to begin, and what
    /// has to end.
    pub(super) fn activities(&self) -> [Arc<Activity>; 2] {
        [Arc::clone(&self.launches), Arc::clone(&self.activity)]
    }

    /// Counts something as busy, if the clock is paused. During an advance it always has to end.
    pub(super) fn begin(&self, until: Until) -> Option<Busy> {
        let busy = match (until, self.latest) {
            (Until::Begun, Move::ToEnd) => self.launches.begin(Until::Begun),
            _ => self.activity.begin(Until::Ended),
        };
        self.is_paused().then_some(busy)
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, key: TimerKey, action: Action) {
        self.due.insert(key, action);
    }

    pub(super) fn remove(&mut self, key: TimerKey) -> Option<Action> {
        self.due.remove(&key)
    }

    /// Returns the earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|(key, _)| key.deadline())
    }

    /// Returns the real time of the earliest deadline, if the clock runs.
    pub(super) fn next_real(&self) -> Option<Instant> {
        let next = self.next().filter(|_| self.reading.runs)?;
        Some(self.reading.real(next))
    }

    /// Removes the earliest entry if it is due.
    pub(super) fn pop_due(&mut self, real: Instant) -> Option<(TimerKey, Action)> {
        let now = self.now(real);
        self.next().filter(|next| *next <= now)?;
        self.due.pop_first()
    }

    /// Removes all entries.
    pub(super) fn into_actions(self) -> Vec<Action> {
        self.due.into_values().collect()
    }
}

/// Returns `now + duration`, capped at a distant time.
pub(super) fn add(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration.min(clock::FAR)).unwrap_or(now)
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// The real time passes.
        Wait(u64),
        /// An entry is added that is due after this time of the clock.
        Insert(u64),
        /// A paused clock is moved.
        Move(u64),
        Pause,
        Resume,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..50).prop_map(Step::Wait),
            (0u64..100).prop_map(Step::Insert),
            (0u64..50).prop_map(Step::Move),
            Just(Step::Pause),
            Just(Step::Resume),
        ]
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    proptest! {
        /// A model in milliseconds: one counter for the clock, which the real time moves while it
        /// runs. The clock, the time of day and the entries agree with it.
        #[test]
        fn clock_agrees_with_counter(steps in prop::collection::vec(step(), 1..60)) {
            let start = Instant::now();
            let wall_start = SystemTime::UNIX_EPOCH + ms(1_000_000);
            let mut clock = OwnClock::paused(start, wall_start);
            let (mut own, mut real, mut runs) = (0, 0, false);
            let mut expected: Vec<u64> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let (now, wall) = (start + ms(real), wall_start + ms(real));
                match step {
                    Step::Wait(by) => {
                        real += by;
                        own += if runs { by } else { 0 };
                    }
                    Step::Insert(after) => {
                        let key = TimerKey::new(add(clock.now(now), ms(after)), number as u64);
                        clock.insert(key, Action::Call(Box::new(|| ())));
                        expected.push(own + after);
                    }
                    Step::Move(by) if !runs => {
                        own += by;
                        clock.move_to(start + ms(own), Move::ToDueTime);
                    }
                    Step::Pause if runs => {
                        runs = false;
                        clock.pause(now, wall);
                    }
                    Step::Resume if !runs => {
                        runs = true;
                        clock.resume(now);
                    }
                    Step::Move(_) | Step::Pause | Step::Resume => {}
                }
                let (now, wall) = (start + ms(real), wall_start + ms(real));
                prop_assert_eq!(clock.now(now), start + ms(own));
                prop_assert_eq!(clock.wall(now, wall), wall_start + ms(own));
                prop_assert_eq!(clock.is_paused(), !runs);
                while clock.pop_due(now).is_some() {
                    let earliest = (0..expected.len()).min_by_key(|at| expected[*at]);
                    prop_assert!(expected.swap_remove(earliest.unwrap()) <= own);
                }
                let next = expected.iter().min().copied();
                prop_assert_eq!(clock.next(), next.map(|next| start + ms(next)));
                let next_real = next.filter(|_| runs).map(|next| start + ms(real + next - own));
                prop_assert_eq!(clock.next_real(), next_real);
            }
        }
    }
}
