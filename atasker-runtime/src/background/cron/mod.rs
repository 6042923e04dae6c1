//! Cron expressions.
//!
//! | file | content |
//! |---|---|
//! | `values` | sets of the values of a field |
//! | `days` | decides whether a day matches |
//! | `plan` | finds the next time that matches, in a time zone |
//! | `fields` | parses an expression |

mod days;
mod fields;
mod plan;
mod values;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{Local, TimeZone};

use crate::background::now::Now;

/// A cron expression, in local time.
#[derive(Clone, Debug)]
pub(super) struct Cron(plan::CronPlan);

impl Cron {
    pub(super) fn parse(expression: &str) -> Result<Cron, CronError> {
        Self::read(expression, &Local, SystemTime::now())
            .map_err(|detail| CronError { expression: truncated(expression), detail })
    }

    fn read(expression: &str, zone: &impl TimeZone, now: SystemTime) -> Result<Cron, String> {
        let cron = Cron(fields::parse(expression)?);
        match cron.next_in(zone, now) {
            Some(_) => Ok(cron),
            None => Err("it never matches a future time".to_owned()),
        }
    }

    /// Returns the next matching time that is later than `now` plus `first`, by both clocks.
    pub(super) fn next(&self, now: &Now, first: Duration) -> Option<(Instant, SystemTime)> {
        let next = self.next_in(&Local, now.wall().checked_add(first)?)?;
        let wait = next.duration_since(now.wall()).unwrap_or_default();
        Some((now.monotonic.checked_add(wait)?, next))
    }

    /// Returns the next matching time later than `after`, in a time zone.
    fn next_in(&self, zone: &impl TimeZone, after: SystemTime) -> Option<SystemTime> {
        let after = match after.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).ok()?,
            // Rounded down to a whole second.
            Err(error) => -i64::try_from(error.duration().as_secs()).ok()? - 1,
        };
        let next = self.0.next(zone, after)?;
        let distance = Duration::from_secs(next.unsigned_abs());
        if next < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    }
}

/// The error of an invalid cron expression.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::Job;
/// let error = Job::try_cron("60 * * * *").unwrap_err();
/// assert!(error.to_string().contains("the minute `60` is not within 0-59"));
/// ```
#[cfg(feature = "cron")]
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "`{expression}` is not a cron expression: {detail}. Write five fields, or six with seconds first, \
     for example `*/5 * * * * *` (every five seconds) or `30 4 * * *` (daily at 4:30)"
)]
pub struct CronError {
    expression: String,
    detail: String,
}

/// Returns the expression for an error message. Untrusted expressions may have any length.
fn truncated(expression: &str) -> String {
    const MAX_CHARS: usize = 100;
    match expression.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &expression[..end]),
        None => expression.to_owned(),
    }
}

#[cfg(test)]
mod croner_tests;
#[cfg(test)]
mod tests;
