//! When the next run is due: values in, values out.

use std::time::{Duration, Instant, SystemTime};

use crate::background::cron::Cron;

/// What an interval worker does about turns that it missed, because a run took too long or the
/// machine slept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Overrun {
    /// They are left out: the next run is at the next whole interval after the start.
    #[default]
    Skip,
    /// They are made up for, one after the other, until the worker has caught up.
    Burst,
}

/// What makes a run due.
#[derive(Debug)]
pub(super) enum Rhythm {
    /// The end of the one before.
    Loop,
    /// Every `period`, start to start.
    Every { period: Duration, overrun: Overrun },
    /// So long after the end of the one before.
    After { pause: Duration },
    /// The wall clock; the moment that is planned, by it.
    Cron { cron: Box<Cron>, planned: Option<SystemTime> },
    /// Only that somebody asks for it: an event, an item in the queue.
    Demand,
}

/// Both clocks, as they were read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Instant,
    pub(super) wall: SystemTime,
}

impl Now {
    pub(super) fn read() -> Now {
        Now { monotonic: Instant::now(), wall: SystemTime::now() }
    }
}

/// The answer to "when?".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Now; it was planned for that moment, if it was planned.
    Now(Option<Instant>),
    At(Instant),
    /// Not before somebody asks.
    Unknown,
    /// Never again.
    Never,
}

/// The plan of one worker.
#[derive(Debug)]
pub(super) struct Schedule {
    rhythm: Rhythm,
    /// The first run is so long after the start.
    first: Duration,
    /// Planned runs in all, if that is limited.
    times: Option<u64>,
    /// Of them, so many are still to come since the last start.
    left: u64,
    /// The next planned run.
    next: Option<Instant>,
    /// A run was asked for.
    wanted: bool,
    /// Nothing before this moment: a run could not be launched.
    not_before: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(rhythm: Rhythm, first: Duration) -> Self {
        Schedule {
            rhythm,
            first,
            times: None,
            left: u64::MAX,
            next: None,
            wanted: false,
            not_before: None,
        }
    }

    pub(super) fn times(mut self, times: Option<u64>) -> Self {
        self.times = times;
        self
    }

    /// A start: the plan begins anew.
    pub(super) fn start(&mut self, now: Now) {
        self.left = self.times.unwrap_or(u64::MAX);
        self.wanted = false;
        self.not_before = None;
        match self.rhythm {
            Rhythm::Demand => self.next = None,
            Rhythm::Cron { .. } => self.plan_by_wall_clock(now, self.first),
            _ => self.next = now.monotonic.checked_add(self.first),
        }
    }

    fn plan_by_wall_clock(&mut self, now: Now, first: Duration) {
        if let Rhythm::Cron { cron, planned } = &mut self.rhythm {
            (self.next, *planned) = cron.next(now, first).unzip();
        }
    }

    /// Somebody asks for a run.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// A run could not be launched: not so soon again.
    pub(super) fn hold(&mut self, until: Instant) {
        self.not_before = Some(until);
    }

    /// When the next run is due. `items`: something waits in the worker's queue. If the answer is
    /// now, that run is taken: the next answer is about the one after it.
    pub(super) fn due(&mut self, now: Now, items: bool) -> Due {
        if let Some(until) = self.not_before {
            if now.monotonic < until {
                return Due::At(until);
            }
            self.not_before = None;
        }
        if self.wanted {
            self.wanted = false;
            return Due::Now(None);
        }
        if items {
            return Due::Now(None);
        }
        if self.left == 0 {
            return Due::Never;
        }
        let Some(next) = self.next else {
            return match self.rhythm {
                Rhythm::Cron { .. } => Due::Never,
                _ => Due::Unknown,
            };
        };
        if let Rhythm::Cron { planned: Some(planned), .. } = self.rhythm
            && now.monotonic >= next
            && let Ok(wait) = planned.duration_since(now.wall)
            && !wait.is_zero()
        {
            // The wall clock runs slower than the monotonic one, or was set back.
            self.next = now.monotonic.checked_add(wait);
            return self.next.map_or(Due::Never, Due::At);
        }
        if now.monotonic < next {
            return Due::At(next);
        }
        self.left -= 1;
        match &mut self.rhythm {
            Rhythm::Every { period, overrun } => {
                self.next = after(next, *period, *overrun, now.monotonic);
            }
            // Comes with the end of the run.
            _ => self.next = None,
        }
        Due::Now(Some(next))
    }

    /// A run is over.
    pub(super) fn ended(&mut self, now: Now) {
        match &mut self.rhythm {
            Rhythm::Loop => self.next = Some(now.monotonic),
            Rhythm::After { pause } => self.next = now.monotonic.checked_add(*pause),
            Rhythm::Every { period, overrun: Overrun::Skip } => {
                if let Some(next) = self.next.filter(|next| *next <= now.monotonic) {
                    self.next = after(next, *period, Overrun::Skip, now.monotonic);
                }
            }
            Rhythm::Every { overrun: Overrun::Burst, .. } => {}
            // What a run has missed is not made up for.
            Rhythm::Cron { .. } if self.next.is_none() => {
                self.plan_by_wall_clock(now, Duration::ZERO);
            }
            Rhythm::Cron { .. } => {}
            Rhythm::Demand => {}
        }
    }

    /// The wall clock was set: what was planned by it is planned anew.
    pub(super) fn clock_was_set(&mut self, now: Now) {
        if self.next.is_some() {
            self.plan_by_wall_clock(now, Duration::ZERO);
        }
    }

    /// Whether the wall clock matters here.
    pub(super) fn goes_by_the_wall_clock(&self) -> bool {
        matches!(self.rhythm, Rhythm::Cron { .. })
    }
}

/// The turn after the one at `turn`: the next one, or, if turns are skipped, the first that is not
/// over yet. Always whole periods later: no drift.
fn after(turn: Instant, period: Duration, overrun: Overrun, now: Instant) -> Option<Instant> {
    let next = turn.checked_add(period)?;
    if overrun == Overrun::Burst || next > now || period.is_zero() {
        return Some(next);
    }
    let missed = now.duration_since(next).as_nanos() / period.as_nanos() + 1;
    let more = period.as_nanos().checked_mul(missed)?;
    next.checked_add(Duration::from_nanos(u64::try_from(more).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    struct Clock(Instant);

    impl Clock {
        fn at(&self, after: u64) -> Now {
            Now { monotonic: self.0 + ms(after), wall: SystemTime::UNIX_EPOCH + ms(after) }
        }
        fn instant(&self, after: u64) -> Instant {
            self.0 + ms(after)
        }
    }

    fn every(period: u64, overrun: Overrun) -> Schedule {
        Schedule::new(Rhythm::Every { period: ms(period), overrun }, Duration::ZERO)
    }

    #[test]
    fn an_interval_counts_from_start_to_start() {
        let clock = Clock(Instant::now());
        let mut plan = every(100, Overrun::Skip);
        plan.start(clock.at(0));
        assert_eq!(plan.due(clock.at(0), false), Due::Now(Some(clock.instant(0))));
        plan.ended(clock.at(30));
        assert_eq!(plan.due(clock.at(30), false), Due::At(clock.instant(100)));
        // Late by 7: the one after it is on time all the same.
        assert_eq!(plan.due(clock.at(107), false), Due::Now(Some(clock.instant(100))));
        plan.ended(clock.at(120));
        assert_eq!(plan.due(clock.at(120), false), Due::At(clock.instant(200)));
    }

    #[test]
    fn missed_turns_are_skipped() {
        let clock = Clock(Instant::now());
        let mut plan = every(100, Overrun::Skip);
        plan.start(clock.at(0));
        assert!(matches!(plan.due(clock.at(0), false), Due::Now(_)));
        plan.ended(clock.at(350));
        assert_eq!(plan.due(clock.at(350), false), Due::At(clock.instant(400)));
    }

    #[test]
    fn missed_turns_are_made_up_for_in_a_burst() {
        let clock = Clock(Instant::now());
        let mut plan = every(100, Overrun::Burst);
        plan.start(clock.at(0));
        assert!(matches!(plan.due(clock.at(0), false), Due::Now(_)));
        plan.ended(clock.at(350));
        for missed in [100, 200, 300] {
            assert_eq!(plan.due(clock.at(350), false), Due::Now(Some(clock.instant(missed))));
            plan.ended(clock.at(350));
        }
        assert_eq!(plan.due(clock.at(350), false), Due::At(clock.instant(400)));
    }

    #[test]
    fn a_wanted_run_leaves_the_plan_as_it_is() {
        let clock = Clock(Instant::now());
        let mut plan = every(100, Overrun::Skip);
        plan.start(clock.at(0));
        assert!(matches!(plan.due(clock.at(0), false), Due::Now(Some(_))));
        plan.want();
        plan.want();
        assert_eq!(plan.due(clock.at(10), false), Due::Now(None));
        plan.ended(clock.at(20));
        assert_eq!(plan.due(clock.at(20), false), Due::At(clock.instant(100)));
    }

    #[test]
    fn a_pause_counts_from_the_end() {
        let clock = Clock(Instant::now());
        let mut plan = Schedule::new(Rhythm::After { pause: ms(50) }, ms(20));
        plan.start(clock.at(0));
        assert_eq!(plan.due(clock.at(0), false), Due::At(clock.instant(20)));
        assert!(matches!(plan.due(clock.at(20), false), Due::Now(Some(_))));
        assert_eq!(plan.due(clock.at(30), false), Due::Unknown);
        plan.ended(clock.at(40));
        assert_eq!(plan.due(clock.at(40), false), Due::At(clock.instant(90)));
    }

    #[test]
    fn so_many_times_and_never_again() {
        let clock = Clock(Instant::now());
        let mut plan = every(10, Overrun::Skip).times(Some(2));
        plan.start(clock.at(0));
        for turn in [0, 10] {
            assert!(matches!(plan.due(clock.at(turn), false), Due::Now(Some(_))));
            plan.ended(clock.at(turn));
        }
        assert_eq!(plan.due(clock.at(20), false), Due::Never);
        // A start counts anew.
        plan.start(clock.at(30));
        assert!(matches!(plan.due(clock.at(30), false), Due::Now(Some(_))));
    }

    #[test]
    fn demand_only() {
        let clock = Clock(Instant::now());
        let mut plan = Schedule::new(Rhythm::Demand, Duration::ZERO);
        plan.start(clock.at(0));
        assert_eq!(plan.due(clock.at(0), false), Due::Unknown);
        assert_eq!(plan.due(clock.at(0), true), Due::Now(None));
        plan.want();
        assert_eq!(plan.due(clock.at(0), false), Due::Now(None));
        assert_eq!(plan.due(clock.at(0), false), Due::Unknown);
        plan.want();
        plan.hold(clock.instant(5));
        assert_eq!(plan.due(clock.at(0), false), Due::At(clock.instant(5)));
        assert_eq!(plan.due(clock.at(5), false), Due::Now(None));
    }

    proptest! {
        /// Whatever the runs take, planned turns are whole periods after the start, each once, and
        /// with `Burst` none is left out.
        #[test]
        fn no_drift(period in 1u64..50, took in prop::collection::vec(0u64..200, 1..50), burst: bool) {
            let clock = Clock(Instant::now());
            let overrun = if burst { Overrun::Burst } else { Overrun::Skip };
            let mut plan = every(period, overrun);
            plan.start(clock.at(0));
            let mut now = 0;
            let mut last = None;
            for took in took {
                let planned = loop {
                    match plan.due(clock.at(now), false) {
                        Due::Now(planned) => break planned.unwrap(),
                        Due::At(at) => now = (at - clock.0).as_millis() as u64,
                        other => panic!("{other:?}"),
                    }
                };
                let turn = (planned - clock.0).as_millis() as u64;
                prop_assert_eq!(turn % period, 0);
                prop_assert!(turn <= now);
                if let Some(last) = last {
                    prop_assert!(turn > last);
                    if burst {
                        prop_assert_eq!(turn, last + period);
                    } else {
                        prop_assert!(now - turn < period || turn == last + period);
                    }
                }
                last = Some(turn);
                now += took;
                plan.ended(clock.at(now));
            }
        }
    }
}
