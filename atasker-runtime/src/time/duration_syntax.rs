//! The syntax of durations: `"250ms"`, `"1.5 s"`, `"2m"`.
//!
//! The macros read their keys by it, and the runtime its configuration files. A procedural macro
//! can't depend on the runtime, so both crates contain this file. A test of the package `tests`
//! checks that the two files are equal.

use std::time::Duration;

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// The units in nanoseconds, in ascending order.
pub(crate) const UNITS: [(&str, u128); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SEC),
    ("m", 60 * NANOS_PER_SEC),
    ("h", 3600 * NANOS_PER_SEC),
];

/// Returns the duration that a text stands for, or what is wrong with the text.
///
/// The result is exact to the nanosecond, and rounded half up if the text is more precise.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let number = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
    let (number, unit) = text.split_at(number.unwrap_or(text.len()));
    let (number, unit) = (number.replace('_', ""), unit.trim());
    if number.is_empty() {
        return Err(format!("\"{text}\" is not a duration"));
    }
    if unit.is_empty() {
        return Err(format!("the unit of \"{text}\" is missing"));
    }
    let unit = match unit {
        "µs" => "us",
        "min" => "m",
        "sec" => "s",
        unit => unit,
    };
    let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("\"{unit}\" is not a unit of time (ns, us, ms, s, m, h)"));
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return Err(format!("\"{text}\" is not a duration"));
    }
    // A number without digits before the point counts as 0.
    let whole = if whole.is_empty() { Ok(0) } else { whole.parse::<u128>() };
    let nanos = whole.ok().and_then(|whole| whole.checked_mul(*unit));
    let nanos = nanos.and_then(|nanos| nanos.checked_add(part_of(*unit, fraction)));
    let duration = nanos.and_then(|nanos| {
        let secs = u64::try_from(nanos / NANOS_PER_SEC).ok()?;
        Some(Duration::new(secs, (nanos % NANOS_PER_SEC) as u32))
    });
    duration.ok_or_else(|| format!("\"{text}\" is too long"))
}

/// Returns the part of a unit that the digits after a point stand for, in nanoseconds.
fn part_of(unit: u128, digits: &str) -> u128 {
    /// More digits would not fit below, and are less than a nanosecond of any unit.
    const MOST: usize = 24;
    let digits = &digits[..digits.len().min(MOST)];
    let scale = 10u128.pow(digits.len() as u32);
    let part = digits.parse::<u128>().unwrap_or(0) * unit;
    (part + scale / 2) / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_texts_stand_for_their_duration() {
        let table = [
            ("0s", 0),
            ("1ns", 1),
            ("250ms", 250_000_000),
            ("5s", 5_000_000_000),
            ("2m", 120_000_000_000),
            ("2min", 120_000_000_000),
            ("5sec", 5_000_000_000),
            ("3 h", 10_800_000_000_000),
            (" 3h ", 10_800_000_000_000),
            ("1_000us", 1_000_000),
            ("7µs", 7_000),
            ("007ms", 7_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0.000_000_001s", 1),
            ("1.4ns", 1),
            ("1.5ns", 2),
            ("0.3333333333s", 333_333_333),
            ("1.999999999999999999999999999999999999999h", 7_200_000_000_000),
            // Not exact as an `f64`.
            ("9007199.254740993s", 9_007_199_254_740_993),
            ("18446744073709551615ns", u64::MAX.into()),
            ("18446744073.709551616s", 1 << 64),
        ];
        for (text, nanos) in table {
            let nanos: u128 = nanos;
            assert_eq!(parse(text).map(|duration| duration.as_nanos()), Ok(nanos), "{text}");
        }
        assert_eq!(parse("18446744073709551615999999999ns"), Ok(Duration::MAX));
        assert_eq!(parse("18446744073709551615.999999999s"), Ok(Duration::MAX));
    }

    #[test]
    fn other_texts_are_rejected_with_the_reason() {
        let table = [
            ("", "is not a duration"),
            ("s", "is not a duration"),
            (".s", "is not a duration"),
            ("_", "is not a duration"),
            ("1.2.3s", "is not a duration"),
            ("-1s", "is not a duration"),
            ("+1s", "is not a duration"),
            ("inf", "is not a duration"),
            ("5", "the unit of \"5\" is missing"),
            ("5x", "\"x\" is not a unit of time"),
            ("5S", "\"S\" is not a unit of time"),
            ("1m30s", "\"m30s\" is not a unit of time"),
            ("1e3s", "\"e3s\" is not a unit of time"),
            ("5 days", "\"days\" is not a unit of time"),
            ("9999999999999999999h", "is too long"),
            ("18446744073709551616s", "is too long"),
            ("18446744073709551615.9999999999s", "is too long"),
            ("999999999999999999999999999999999999999999s", "is too long"),
        ];
        for (text, reason) in table {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
