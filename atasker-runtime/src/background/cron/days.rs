//! Decides whether a day matches the fields of a cron expression that are about days.

use chrono::{Datelike, NaiveDate, Weekday};

use crate::background::cron::values::{Span, Values};

/// The last year that an expression can match.
pub(super) const MAX_YEAR: u16 = 5000;

/// The days of an expression.
#[derive(Clone, Debug)]
pub(super) struct Days {
    /// The day of the month is `*` or `?`.
    pub(super) any_day: bool,
    pub(super) days: Values,
    /// `L`: the last day of the month.
    pub(super) last: bool,
    /// `LW`: the last day of the month from Monday to Friday.
    pub(super) last_workday: bool,
    /// `15W`: the day from Monday to Friday that is nearest to each, in the same month.
    pub(super) nearest_workdays: Values,
    pub(super) months: Values,
    /// The day of the week is `*` or `?`.
    pub(super) any_weekday: bool,
    /// Sunday is 0.
    pub(super) weekdays: Values,
    /// `FRI#1` to `FRI#5`, and `FRI#L` at [`LAST`](Self::LAST).
    pub(super) nth_weekdays: [Values; 6],
    /// `+`: a day has to match by its day of the month and by its day of the week. Otherwise one
    /// of them is sufficient.
    pub(super) both: bool,
    pub(super) years: Vec<Span>,
}

impl Default for Days {
    /// Every day of the month and of the week, but of no month and no year.
    fn default() -> Days {
        Days {
            any_day: true,
            days: Values::default(),
            last: false,
            last_workday: false,
            nearest_workdays: Values::default(),
            months: Values::default(),
            any_weekday: true,
            weekdays: Values::default(),
            nth_weekdays: [Values::default(); 6],
            both: false,
            years: Vec::new(),
        }
    }
}

impl Days {
    /// The index of the last one in a month, in `nth_weekdays`.
    pub(super) const LAST: usize = 5;

    pub(super) fn has_year(&self, year: i32) -> bool {
        u16::try_from(year).is_ok_and(|year| self.years.iter().any(|span| span.contains(year)))
    }

    pub(super) fn has(&self, day: NaiveDate) -> bool {
        if !self.months.has(day.month()) || !self.has_year(day.year()) {
            return false;
        }
        match (self.any_day, self.any_weekday) {
            (true, true) => true,
            (true, false) => self.matches_weekday(day),
            (false, true) => self.matches_day(day),
            (false, false) if self.both => self.matches_day(day) && self.matches_weekday(day),
            (false, false) => self.matches_day(day) || self.matches_weekday(day),
        }
    }

    fn matches_day(&self, day: NaiveDate) -> bool {
        let (number, length) = (day.day(), days_in_month(day));
        self.days.has(number)
            || self.last && number == length
            || self.last_workday && number == nearest_workday(day, length)
            // A workday is at most two days away from the day that it replaces.
            || (number.saturating_sub(2).max(1)..=(number + 2).min(length)).any(|wanted| {
                self.nearest_workdays.has(wanted) && number == nearest_workday(day, wanted)
            })
    }

    fn matches_weekday(&self, day: NaiveDate) -> bool {
        let weekday = day.weekday().num_days_from_sunday();
        // The first seven days of a month are each the first of their weekday.
        let nth = (day.day() as usize - 1) / 7;
        let is_last = day.day() + 7 > days_in_month(day);
        self.weekdays.has(weekday)
            || self.nth_weekdays[nth].has(weekday)
            || is_last && self.nth_weekdays[Days::LAST].has(weekday)
    }
}

/// Returns the day from Monday to Friday that is nearest to `wanted` in the month of `day`.
fn nearest_workday(day: NaiveDate, wanted: u32) -> u32 {
    let weekday = day.with_day(wanted).map(|wanted| wanted.weekday());
    match weekday {
        Some(Weekday::Sat) if wanted > 1 => wanted - 1,
        Some(Weekday::Sat) => wanted + 2,
        Some(Weekday::Sun) if wanted < days_in_month(day) => wanted + 1,
        Some(Weekday::Sun) => wanted - 2,
        _ => wanted,
    }
}

fn days_in_month(day: NaiveDate) -> u32 {
    match day.month() {
        2 if day.leap_year() => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
