//! Finds the next time that matches a cron expression in a time zone. Pure.
//!
//! The search uses only the offset of the zone at a given time. The inverse, from a local time to
//! UTC, has zero, one or two results, and libraries differ in their order and at the boundaries.
//! The search instead steps through intervals of constant offset, and keeps the highest local time
//! that the clock has shown so far (`high_water`):
//!
//! * A clock that is set back shows local times below the high-water mark a second time.
//! * A clock that is set forward skips the local times between the mark and its new time.
//!
//! All times are whole seconds since 1970. A local time is the UTC time plus the offset.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike};

use crate::background::cron::days::{Days, MAX_YEAR};
use crate::background::cron::values::Values;

const HOUR: i64 = 3600;

/// The maximum change of an offset. Two zones differ by at most 26 hours, and a place that changes
/// sides of the date line moves by 24 hours.
const MAX_SHIFT: i64 = 26 * HOUR;

/// The maximum offset from UTC.
const MAX_OFFSET: i64 = 16 * HOUR;

/// The fields of an expression.
#[derive(Clone, Debug)]
pub(super) struct CronPlan {
    pub(super) days: Days,
    pub(super) hours: Values,
    pub(super) minutes: Values,
    pub(super) seconds: Values,
}

impl CronPlan {
    /// Returns whether all hours match. Times that the clock skips are then not made up for,
    /// because the next hour has runs as well.
    fn covers_all_hours(&self) -> bool {
        self.hours.count() == 24
    }

    /// Returns whether local times that occur twice match both times.
    fn runs_in_both_passes(&self) -> bool {
        self.covers_all_hours() || self.minutes.count() > 1 || self.seconds.count() > 1
    }

    /// Returns the first time later than `after` that matches in `zone`.
    pub(super) fn next(&self, zone: &impl TimeZone, after: i64) -> Option<i64> {
        let repeats = self.runs_in_both_passes();
        // Far enough back to know the highest local time before `after`.
        let mut at = after.checked_sub(MAX_SHIFT)?;
        let mut high_water = at + offset(zone, at)?;
        loop {
            let offset_here = offset(zone, at)?;
            let end = end_of_offset(zone, at, offset_here)?;
            let local = at + offset_here;
            if at > after && self.skips_due_time(high_water, local) {
                return Some(at);
            }
            let from = if repeats { local } else { local.max(high_water) };
            let from = from.max(after + 1 + offset_here);
            if let Some(due) = self.first_by_day(from, end + offset_here).next() {
                return Some(seconds(due) - offset_here);
            }
            high_water = high_water.max(end + offset_here);
            at = end;
            if at > after + MAX_SHIFT {
                // From here on, the clock shows no local time that it showed before `after`. No
                // time matches before the clock comes near the next matching local time, so skip
                // ahead.
                let due = self.first(high_water)?;
                let near = due - 2 * MAX_SHIFT - MAX_OFFSET;
                if near > at {
                    at = near;
                    high_water = at + offset(zone, at)?;
                }
            }
        }
    }

    /// Returns whether the clock, set forward from `from` to `until`, has skipped a time that must
    /// be made up for. A day that a zone skips entirely doesn't exist, like 30 February.
    fn skips_due_time(&self, from: i64, until: i64) -> bool {
        let is_skipped = |day: NaiveDate| {
            let start = seconds(day.and_time(NaiveTime::MIN));
            from <= start && start + 24 * HOUR <= until
        };
        !self.covers_all_hours()
            && self.first_by_day(from, until).any(|due| !is_skipped(due.date()))
    }

    /// Returns the first matching local time of each day in the range.
    fn first_by_day(&self, from: i64, until: i64) -> impl Iterator<Item = NaiveDateTime> {
        let range = (from < until).then(|| (civil(from), civil(until)));
        range
            .and_then(|(from, until)| Some((from?, until?)))
            .into_iter()
            .flat_map(|(from, until)| {
                from.date()
                    .iter_days()
                    .take_while(move |day| *day <= until.date())
                    .map(move |day| day.and_time(NaiveTime::MIN).max(from))
            })
            .filter_map(|from| self.first_in_day(from))
            .take_while(move |due| seconds(*due) < until)
    }

    /// Returns the first matching local time that is not before `from`.
    fn first(&self, from: i64) -> Option<i64> {
        let from = civil(from)?;
        let due = self.first_in_day(from).or_else(|| {
            let day = self.first_day(from.date().succ_opt()?)?;
            self.first_in_day(day.and_time(NaiveTime::MIN))
        });
        due.map(seconds)
    }

    fn first_in_day(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        if !self.days.has(from.date()) {
            return None;
        }
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let in_this_hour = || {
            let in_this_minute = self.seconds.first(second).filter(|_| self.minutes.has(minute));
            match in_this_minute {
                Some(second) => Some((hour, minute, second)),
                None => Some((hour, self.minutes.first(minute + 1)?, self.seconds.first(0)?)),
            }
        };
        let (hour, minute, second) =
            self.hours.has(hour).then(in_this_hour).flatten().or_else(|| {
                Some((self.hours.first(hour + 1)?, self.minutes.first(0)?, self.seconds.first(0)?))
            })?;
        from.date().and_hms_opt(hour, minute, second)
    }

    /// Returns the first matching day that is not before `from`. There are 14 kinds of years, by
    /// length and first weekday. A kind without a matching day is searched only once, so that an
    /// expression that never matches is detected quickly.
    fn first_day(&self, from: NaiveDate) -> Option<NaiveDate> {
        let mut without = [false; 14];
        for year in from.year()..=i32::from(MAX_YEAR) {
            if !self.days.has_year(year) {
                continue;
            }
            let start = NaiveDate::from_ymd_opt(year, 1, 1)?;
            let kind = start.weekday().num_days_from_sunday() as usize
                + if start.leap_year() { 7 } else { 0 };
            let is_whole = from <= start;
            if is_whole && without[kind] {
                continue;
            }
            let days = start.max(from).iter_days().take_while(|day| day.year() == year);
            let found = days.into_iter().find(|day| self.days.has(*day));
            if found.is_some() {
                return found;
            }
            without[kind] |= is_whole;
        }
        None
    }
}

/// Returns the offset of `zone` from UTC at a time, or `None` outside the supported years.
fn offset(zone: &impl TimeZone, at: i64) -> Option<i64> {
    let at = civil(at).filter(|at| at.year() <= i32::from(MAX_YEAR) + 1)?;
    Some(zone.offset_from_utc_datetime(&at).fix().local_minus_utc().into())
}

/// Returns the time at which the offset of `zone` changes within an hour after `at`, or the end of
/// that hour.
fn end_of_offset(zone: &impl TimeZone, at: i64, offset_here: i64) -> Option<i64> {
    let (mut same, mut other) = (at, at + HOUR);
    if offset(zone, other)? == offset_here {
        return Some(other);
    }
    while other - same > 1 {
        let middle = same.midpoint(other);
        if offset(zone, middle)? == offset_here {
            same = middle;
        } else {
            other = middle;
        }
    }
    Some(other)
}

/// Returns the UTC date and time of a number of seconds since 1970.
fn civil(seconds: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp(seconds, 0).map(|at| at.naive_utc())
}

fn seconds(at: NaiveDateTime) -> i64 {
    at.and_utc().timestamp()
}
