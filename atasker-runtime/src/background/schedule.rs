//! Computes when the next run is due. Pure: the clocks are parameters.

use std::time::{Duration, Instant, SystemTime};

use crate::background::cron::Cron;
use crate::background::now::Now;
use crate::time::clock;

/// What an interval worker does about missed runs, which a long run or a suspended machine causes.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{IntervalWorker, Overrun};
/// let worker = IntervalWorker::builder(Duration::from_secs(1))
///     .overrun(Overrun::Burst)
///     .run(|_| println!("one line per second, even after a delay"));
/// # drop(worker);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Overrun {
    /// Skips missed runs: the next run is at the next whole interval after the start.
    #[default]
    Skip,
    /// Makes up for missed runs, one after the other, until the worker has caught up.
    Burst,
}

/// What makes a run due.
#[derive(Debug)]
pub(super) enum Trigger {
    /// The end of the previous run.
    Loop,
    /// An interval of `period`, from start to start.
    Every { period: Duration, overrun: Overrun },
    /// A pause after the end of the previous run.
    After { pause: Duration },
    /// The wall clock. `planned` is the wall-clock time of the next run.
    Cron { cron: Box<Cron>, planned: Option<SystemTime> },
    /// A request: an event, or an item in the queue.
    OnRequest,
}

/// Whether the queue of a worker has items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum QueueState {
    /// Also for a worker without a queue.
    Empty,
    HasItems,
}

/// When the next run is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Now, with the time that the run was planned for, unless it was requested.
    Now(Option<Instant>),
    /// At a later time.
    At(Instant),
    /// After a request, or after the end of the current run.
    Unknown,
    /// Never: the schedule is completed.
    Never,
}

/// The schedule of one worker.
#[derive(Debug)]
pub(super) struct Schedule {
    trigger: Trigger,
    /// The delay of the first run after the start.
    initial_delay: Duration,
    /// The limit of planned runs after each start.
    times: Option<u64>,
    /// The remaining planned runs since the last start.
    remaining: u64,
    /// The next planned run.
    next: Option<Instant>,
    /// A run was requested.
    requested: bool,
    /// No run before this time, because a run could not be launched.
    not_before: Option<Instant>,
    /// Runs at an interval are planned for whole multiples of it since 1970.
    aligned: bool,
}

impl Schedule {
    pub(super) fn new(trigger: Trigger, initial_delay: Duration) -> Self {
        Schedule {
            trigger,
            // As for all durations of tasks: an extreme value is limited, and is not an error.
            initial_delay: initial_delay.min(clock::FAR),
            times: None,
            remaining: u64::MAX,
            next: None,
            requested: false,
            not_before: None,
            aligned: false,
        }
    }

    pub(super) fn times(mut self, times: Option<u64>) -> Self {
        self.times = times;
        self
    }

    /// Sets whether runs at an interval are planned for whole multiples of it since 1970, so that
    /// all programs plan them for the same times.
    pub(super) fn aligned(mut self, aligned: bool) -> Self {
        self.aligned = aligned;
        self
    }

    /// Starts the schedule from the beginning.
    pub(super) fn start(&mut self, now: &Now) {
        self.remaining = self.times.unwrap_or(u64::MAX);
        self.requested = false;
        self.not_before = None;
        match self.trigger {
            Trigger::OnRequest => self.next = None,
            Trigger::Cron { .. } => self.plan_by_wall_clock(now, self.initial_delay),
            Trigger::Every { period, .. } if self.aligned && !period.is_zero() => {
                let first = since_1970(now.wall()).saturating_add(self.initial_delay);
                let multiple = first.as_nanos().next_multiple_of(period.as_nanos());
                let wait = multiple - since_1970(now.wall()).as_nanos();
                let wait = u64::try_from(wait).map_or(clock::FAR, Duration::from_nanos);
                self.next = now.monotonic.checked_add(wait);
            }
            _ => self.next = now.monotonic.checked_add(self.initial_delay),
        }
    }

    fn plan_by_wall_clock(&mut self, now: &Now, initial_delay: Duration) {
        if let Trigger::Cron { cron, planned } = &mut self.trigger {
            (self.next, *planned) = cron.next(now, initial_delay).unzip();
        }
    }

    /// Identifies a planned run among all programs with the same schedule. To be called before the
    /// next run is planned.
    pub(super) fn tick(&self, planned: Instant, now: &Now) -> String {
        match &self.trigger {
            Trigger::Cron { planned: Some(planned), .. } => {
                format!("{}", since_1970(*planned).as_secs())
            }
            Trigger::Every { period, .. } if !period.is_zero() => {
                let ago = now.monotonic.saturating_duration_since(planned);
                let nanos = since_1970(now.wall()).saturating_sub(ago).as_nanos();
                // The nearest one, because the clocks of this machine drift against each other.
                let number = (nanos + period.as_nanos() / 2) / period.as_nanos();
                format!("{} ns {number}", period.as_nanos())
            }
            _ => format!("{}", since_1970(now.wall()).as_nanos()),
        }
    }

    /// Requests a run.
    pub(super) fn request_run(&mut self) {
        self.requested = true;
    }

    /// Delays further runs, after a run could not be launched.
    pub(super) fn hold_off(&mut self, until: Instant) {
        self.not_before = Some(until);
    }

    /// Returns when the next run is due. If that is [`Due::Now`], the caller must make that run:
    /// the next call is about the run after it.
    pub(super) fn due(&mut self, now: &Now, queue: QueueState) -> Due {
        if let Some(until) = self.not_before {
            if now.monotonic < until {
                return Due::At(until);
            }
            self.not_before = None;
        }
        if self.requested {
            self.requested = false;
            return Due::Now(None);
        }
        if queue == QueueState::HasItems {
            return Due::Now(None);
        }
        if self.remaining == 0 {
            return Due::Never;
        }
        let Some(next) = self.next else {
            return match self.trigger {
                Trigger::Cron { .. } => Due::Never,
                _ => Due::Unknown,
            };
        };
        if let Trigger::Cron { planned: Some(planned), .. } = self.trigger
            && now.monotonic >= next
            && let Ok(wait) = planned.duration_since(now.wall())
            && !wait.is_zero()
        {
            // The wall clock is slower than the monotonic clock, or was set back: wait for the
            // rest.
            self.next = now.monotonic.checked_add(wait);
            return self.next.map_or(Due::Never, Due::At);
        }
        if now.monotonic < next {
            return Due::At(next);
        }
        self.remaining -= 1;
        match &mut self.trigger {
            Trigger::Every { period, overrun } => {
                self.next = after(next, *period, *overrun, now.monotonic);
            }
            // `ended` plans the next run.
            _ => self.next = None,
        }
        Due::Now(Some(next))
    }

    /// Plans the next run after the end of a run.
    pub(super) fn ended(&mut self, now: &Now) {
        match &mut self.trigger {
            Trigger::Loop => self.next = Some(now.monotonic),
            Trigger::After { pause } => self.next = now.monotonic.checked_add(*pause),
            Trigger::Every { period, overrun: Overrun::Skip } => {
                if let Some(next) = self.next.filter(|next| *next <= now.monotonic) {
                    self.next = after(next, *period, Overrun::Skip, now.monotonic);
                }
            }
            Trigger::Every { overrun: Overrun::Burst, .. } => {}
            // Times that passed during the run are not made up for.
            Trigger::Cron { .. } if self.next.is_none() => {
                self.plan_by_wall_clock(now, Duration::ZERO);
            }
            Trigger::Cron { .. } => {}
            Trigger::OnRequest => {}
        }
    }

    /// Plans the next run again, after the wall clock was set.
    pub(super) fn on_clock_set(&mut self, now: &Now) {
        if self.next.is_some() {
            self.plan_by_wall_clock(now, Duration::ZERO);
        }
    }

    /// Returns whether the schedule depends on the wall clock.
    pub(super) fn uses_wall_clock(&self) -> bool {
        matches!(self.trigger, Trigger::Cron { .. })
    }
}

/// Returns the time since 1970; zero for a clock that was not set.
fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Returns the time of the run after the one planned for `planned`: the next one, or the first one
/// in the future if missed runs are skipped. It is a whole number of periods later, so there is no
/// drift.
fn after(planned: Instant, period: Duration, overrun: Overrun, now: Instant) -> Option<Instant> {
    let next = planned.checked_add(period)?;
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
            Now::at(self.0 + ms(after), SystemTime::UNIX_EPOCH + ms(after))
        }
        fn instant(&self, after: u64) -> Instant {
            self.0 + ms(after)
        }
    }

    fn every(period: u64, overrun: Overrun) -> Schedule {
        Schedule::new(Trigger::Every { period: ms(period), overrun }, Duration::ZERO)
    }

    #[test]
    fn interval_is_measured_from_start_to_start() {
        let clock = Clock(Instant::now());
        let mut plan = every(100, Overrun::Skip);
        plan.start(&clock.at(0));
        assert_eq!(plan.due(&clock.at(0), QueueState::Empty), Due::Now(Some(clock.instant(0))));
        plan.ended(&clock.at(30));
        assert_eq!(plan.due(&clock.at(30), QueueState::Empty), Due::At(clock.instant(100)));
        // This run is late by 7 ms, and the next one is on time.
        assert_eq!(plan.due(&clock.at(107), QueueState::Empty), Due::Now(Some(clock.instant(100))));
        plan.ended(&clock.at(120));
        assert_eq!(plan.due(&clock.at(120), QueueState::Empty), Due::At(clock.instant(200)));
    }

    #[test]
    fn skip_drops_missed_runs() {
        let clock = Clock(Instant::now());
        let mut plan = every(100, Overrun::Skip);
        plan.start(&clock.at(0));
        assert!(matches!(plan.due(&clock.at(0), QueueState::Empty), Due::Now(_)));
        plan.ended(&clock.at(350));
        assert_eq!(plan.due(&clock.at(350), QueueState::Empty), Due::At(clock.instant(400)));
    }

    #[test]
    fn burst_makes_up_for_missed_runs() {
        let clock = Clock(Instant::now());
        let mut plan = every(100, Overrun::Burst);
        plan.start(&clock.at(0));
        assert!(matches!(plan.due(&clock.at(0), QueueState::Empty), Due::Now(_)));
        plan.ended(&clock.at(350));
        for missed in [100, 200, 300] {
            assert_eq!(
                plan.due(&clock.at(350), QueueState::Empty),
                Due::Now(Some(clock.instant(missed)))
            );
            plan.ended(&clock.at(350));
        }
        assert_eq!(plan.due(&clock.at(350), QueueState::Empty), Due::At(clock.instant(400)));
    }

    #[test]
    fn requested_run_keeps_the_interval() {
        let clock = Clock(Instant::now());
        let mut plan = every(100, Overrun::Skip);
        plan.start(&clock.at(0));
        assert!(matches!(plan.due(&clock.at(0), QueueState::Empty), Due::Now(Some(_))));
        plan.request_run();
        plan.request_run();
        assert_eq!(plan.due(&clock.at(10), QueueState::Empty), Due::Now(None));
        plan.ended(&clock.at(20));
        assert_eq!(plan.due(&clock.at(20), QueueState::Empty), Due::At(clock.instant(100)));
    }

    #[test]
    fn pause_is_measured_from_the_end() {
        let clock = Clock(Instant::now());
        let mut plan = Schedule::new(Trigger::After { pause: ms(50) }, ms(20));
        plan.start(&clock.at(0));
        assert_eq!(plan.due(&clock.at(0), QueueState::Empty), Due::At(clock.instant(20)));
        assert!(matches!(plan.due(&clock.at(20), QueueState::Empty), Due::Now(Some(_))));
        assert_eq!(plan.due(&clock.at(30), QueueState::Empty), Due::Unknown);
        plan.ended(&clock.at(40));
        assert_eq!(plan.due(&clock.at(40), QueueState::Empty), Due::At(clock.instant(90)));
    }

    #[test]
    fn times_limits_planned_runs() {
        let clock = Clock(Instant::now());
        let mut plan = every(10, Overrun::Skip).times(Some(2));
        plan.start(&clock.at(0));
        for at in [0, 10] {
            assert!(matches!(plan.due(&clock.at(at), QueueState::Empty), Due::Now(Some(_))));
            plan.ended(&clock.at(at));
        }
        assert_eq!(plan.due(&clock.at(20), QueueState::Empty), Due::Never);
        // A start resets the number of runs.
        plan.start(&clock.at(30));
        assert!(matches!(plan.due(&clock.at(30), QueueState::Empty), Due::Now(Some(_))));
    }

    #[test]
    fn aligned_programs_have_the_same_ticks() {
        // Programs that start at different times, with clocks that differ by a little.
        let ticks = [3_u64, 17, 95].map(|start| {
            let clock = Clock(Instant::now());
            let mut plan = every(100, Overrun::Skip).aligned(true);
            plan.start(&clock.at(start));
            let mut now = start;
            let mut ticks = vec![];
            while ticks.len() < 3 {
                match plan.due(&clock.at(now), QueueState::Empty) {
                    Due::Now(planned) => {
                        let late = Now::at(clock.at(now).monotonic, clock.at(now + 30).wall());
                        ticks.push((now, plan.tick(planned.unwrap(), &late)));
                        plan.ended(&clock.at(now + 1));
                    }
                    Due::At(at) => now = (at - clock.0).as_millis() as u64,
                    other => panic!("{other:?}"),
                }
            }
            ticks
        });
        let expected = [100, 200, 300].map(|at| (at, format!("100000000 ns {}", at / 100)));
        assert!(ticks.iter().all(|ticks| *ticks == expected), "{ticks:?}");
    }

    #[test]
    fn on_request_runs_only_when_requested() {
        let clock = Clock(Instant::now());
        let mut plan = Schedule::new(Trigger::OnRequest, Duration::ZERO);
        plan.start(&clock.at(0));
        assert_eq!(plan.due(&clock.at(0), QueueState::Empty), Due::Unknown);
        assert_eq!(plan.due(&clock.at(0), QueueState::HasItems), Due::Now(None));
        plan.request_run();
        assert_eq!(plan.due(&clock.at(0), QueueState::Empty), Due::Now(None));
        assert_eq!(plan.due(&clock.at(0), QueueState::Empty), Due::Unknown);
        plan.request_run();
        plan.hold_off(clock.instant(5));
        assert_eq!(plan.due(&clock.at(0), QueueState::Empty), Due::At(clock.instant(5)));
        assert_eq!(plan.due(&clock.at(5), QueueState::Empty), Due::Now(None));
    }

    proptest! {
        /// However long the runs take, planned runs are whole periods after the start, each once,
        /// and with `Burst` none is skipped.
        #[test]
        fn interval_has_no_drift(period in 1u64..50, took in prop::collection::vec(0u64..200, 1..50), burst: bool) {
            let clock = Clock(Instant::now());
            let overrun = if burst { Overrun::Burst } else { Overrun::Skip };
            let mut plan = every(period, overrun);
            plan.start(&clock.at(0));
            let mut now = 0;
            let mut last = None;
            for took in took {
                let planned = loop {
                    match plan.due(&clock.at(now), QueueState::Empty) {
                        Due::Now(planned) => break planned.unwrap(),
                        Due::At(at) => now = (at - clock.0).as_millis() as u64,
                        other => panic!("{other:?}"),
                    }
                };
                let planned_ms = (planned - clock.0).as_millis() as u64;
                prop_assert_eq!(planned_ms % period, 0);
                prop_assert!(planned_ms <= now);
                if let Some(last) = last {
                    prop_assert!(planned_ms > last);
                    if burst {
                        prop_assert_eq!(planned_ms, last + period);
                    } else {
                        prop_assert!(now - planned_ms < period || planned_ms == last + period);
                    }
                }
                last = Some(planned_ms);
                now += took;
                plan.ended(&clock.at(now));
            }
        }
    }
}
