//! The time of the server, by the time stamp of a message that is stored for that purpose.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::{self, Trouble};
use crate::layout::{Layout, Stream};
use crate::link::Link;

/// How long one comparison of the clocks is used. The drift of a clock within it doesn't matter.
const VALID: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Option<Compared>>);

#[derive(Clone, Copy, Debug)]
struct Compared {
    epoch: u64,
    here: Instant,
    there: u64,
}

impl Clock {
    /// Returns the time of the server, in nanoseconds since the Unix epoch.
    pub(crate) async fn now(&self, link: &Link, layout: &Layout) -> Result<u64, Trouble> {
        let epoch = link.state().epoch;
        let known = *self.0.lock();
        if let Some(known) = known.filter(|k| k.epoch == epoch && k.here.elapsed() < VALID) {
            return Ok(known.there + known.here.elapsed().as_nanos() as u64);
        }
        let subject = layout.agreed("clock");
        let before = Instant::now();
        api::store(link, &*subject, api::no_headers, Vec::new()).await?;
        let stored = api::last(link, layout.stream(Stream::Records), &subject).await?;
        let Some(stored) = stored else {
            return Err(Trouble::Odd("a message vanished that was just stored".to_owned()));
        };
        // The message was stored between the two moments, by us or by another member.
        let here = before + before.elapsed() / 2;
        *self.0.lock() = Some(Compared { epoch, here, there: stored.time });
        Ok(stored.time + here.elapsed().as_nanos() as u64)
    }
}

/// Parses a time such as `2026-01-02T03:04:05.000000006Z`, into nanoseconds since the Unix epoch.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let digits = |from: usize, to: usize| -> Option<u64> { text.get(from..to)?.parse().ok() };
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let mut rest = text.get(19..)?;
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let length = after.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 || length > 9 {
            return None;
        }
        fraction = after[..length].parse::<u64>().ok()? * 10u64.pow(9 - length as u32);
        rest = &after[length..];
    }
    // The server's times are in UTC.
    if rest != "Z" || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since the epoch, with years that begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::parse_rfc3339;

    #[test]
    fn times_are_parsed() {
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_rfc3339("2000-02-29T12:30:45.5Z"), Some(951_827_445_500_000_000));
        assert_eq!(
            parse_rfc3339("2023-11-14T22:13:20.000000001Z"),
            Some(1_700_000_000_000_000_001)
        );
        assert_eq!(parse_rfc3339("2023-11-14T22:13:20+01:00"), None);
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(parse_rfc3339("2023-11-14T22:13:20.Z"), None);
    }
}
