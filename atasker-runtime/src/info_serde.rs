//! How snapshots are serialized: times as RFC 3339 texts in UTC, durations as seconds.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A time as an RFC 3339 text in UTC, in microseconds.
pub(crate) struct Rfc3339(pub(crate) SystemTime);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = match self.0.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i128,
            // Rounded down, as times after 1970 are.
            Err(before) => -(before.duration().as_nanos().div_ceil(1000) as i128),
        };
        let seconds = micros.div_euclid(1_000_000);
        let (year, month, day) = date(seconds.div_euclid(86_400));
        // RFC 3339 has years of four digits only. ISO 8601 writes others with a sign.
        match year {
            0..=9999 => write!(f, "{year:04}")?,
            _ => write!(f, "{year:+05}")?,
        }
        let second = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let micros = micros.rem_euclid(1_000_000);
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Returns the year, the month and the day of a number of days since 1970, in the Gregorian
/// calendar.
///
/// The year begins in March here, so that a leap day is the last day of its year. 400 years have
/// 146,097 days, and 153 days of five months (31, 30, 31, 30, 31) repeat.
fn date(days_since_1970: i128) -> (i128, i128, i128) {
    // 719,468 days before 1970 is 1 March of year 0.
    let days = days_since_1970 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    (year, month, day)
}

pub(crate) fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    Rfc3339(*time).serialize(serializer)
}

pub(crate) fn optional_time<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(Rfc3339).serialize(serializer)
}

pub(crate) fn optional_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, SecondsFormat, Utc};
    use proptest::prelude::*;

    #[test]
    fn times_are_texts_in_utc() {
        let text = |time| serde_json::to_string(&Rfc3339(time)).unwrap();
        assert_eq!(text(SystemTime::UNIX_EPOCH), "\"1970-01-01T00:00:00.000000Z\"");
        let later = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        assert_eq!(text(later), "\"2023-11-14T22:13:20.123456Z\"");
    }

    /// Compares the text with the one of the crate `chrono`.
    #[track_caller]
    fn assert_as_chrono(time: SystemTime) {
        let expected = DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Micros, true);
        assert_eq!(Rfc3339(time).to_string(), expected);
    }

    #[test]
    fn every_day_of_a_cycle_has_its_date() {
        // Leap years repeat after 400 years.
        let begin = UNIX_EPOCH + Duration::from_secs(11_017 * 86_400);
        assert_eq!(Rfc3339(begin).to_string(), "2000-03-01T00:00:00.000000Z");
        for day in 0..146_097 {
            assert_as_chrono(begin + Duration::from_secs(day * 86_400));
        }
    }

    proptest! {
        #[test]
        fn any_time_is_written_as_by_chrono(
            before: bool,
            // Most years of the calendar of `chrono`.
            seconds in prop_oneof![0..11_000_000_000u64, 0..8_000_000_000_000u64],
            nanos in 0..1_000_000_000u32,
        ) {
            let distance = Duration::new(seconds, nanos);
            let time = match before {
                true => UNIX_EPOCH.checked_sub(distance),
                false => UNIX_EPOCH.checked_add(distance),
            };
            // Not every system has all years.
            time.into_iter().for_each(assert_as_chrono);
        }
    }
}
