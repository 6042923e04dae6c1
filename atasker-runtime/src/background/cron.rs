//! Cron expressions: the wall clock says when.

use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Local};

use crate::background::schedule::Now;

/// A cron expression, in local time.
#[derive(Clone, Debug)]
pub(super) struct Cron(croner::Cron);

impl Cron {
    pub(super) fn parse(expression: &str) -> Result<Cron, CronError> {
        let parser = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Optional)
            .build();
        let read = match parser.parse(expression) {
            Ok(cron) => {
                let cron = Cron(cron);
                let comes = cron.next(Now::read(), Duration::ZERO).is_some();
                comes.then_some(cron).ok_or_else(|| "such a moment never comes".to_owned())
            }
            Err(error) => Err(error.to_string().trim_end_matches('.').to_owned()),
        };
        read.map_err(|detail| CronError { expression: expression.to_owned(), detail })
    }

    /// The next moment that is later than now, and not before `first` from now is over, by both
    /// clocks.
    pub(super) fn next(&self, now: Now, first: Duration) -> Option<(Instant, SystemTime)> {
        let from = DateTime::<Local>::from(now.wall.checked_add(first)?);
        let next = SystemTime::from(self.0.find_next_occurrence(&from, false).ok()?);
        let wait = next.duration_since(now.wall).unwrap_or_default();
        Some((now.monotonic.checked_add(wait)?, next))
    }
}

/// A cron expression that can't be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "`{expression}` is no cron expression: {detail}. Write five fields, or six with seconds first, \
     for example `*/5 * * * * *` (every five seconds) or `30 4 * * *` (daily at 4:30)"
)]
pub struct CronError {
    expression: String,
    detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(expression: &str, from: u64) -> u64 {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(from);
        let now = Now { monotonic: Instant::now(), wall };
        let (at, next) = Cron::parse(expression).unwrap().next(now, Duration::ZERO).unwrap();
        let wait = next.duration_since(wall).unwrap();
        assert_eq!(at - now.monotonic, wait);
        wait.as_secs()
    }

    #[test]
    fn seconds_are_optional() {
        assert_eq!(seconds("*/5 * * * * *", 1_000_000_002), 3);
        assert_eq!(seconds("*/5 * * * * *", 1_000_000_000), 5);
        // 1,000,000,020 is a whole minute.
        assert_eq!(seconds("* * * * *", 1_000_000_000), 20);
        assert_eq!(seconds("30 * * * * *", 1_000_000_020), 30);
    }

    #[test]
    fn the_error_says_what_to_write() {
        let error = Cron::parse("every day").unwrap_err().to_string();
        assert!(error.contains("`every day` is no cron expression"), "{error}");
        assert!(error.contains("*/5 * * * * *"), "{error}");
        let error = Cron::parse("0 0 30 2 *").unwrap_err().to_string();
        assert!(error.contains("such a moment never comes"), "{error}");
    }
}
