//! Parses a cron expression, field by field.

use std::ops::RangeInclusive;

use crate::background::cron::days::{Days, MAX_YEAR};
use crate::background::cron::plan::CronPlan;
use crate::background::cron::values::{Span, Values};

/// The maximum length in bytes. An expression that lists every value of every field is shorter.
const MAX_LEN: usize = 4096;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A kind of field.
struct Field {
    name: &'static str,
    values: RangeInclusive<u16>,
    /// Names of the values, from the first value on.
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", values: 0..=59, names: &[] };
const MINUTE: Field = Field { name: "minute", values: 0..=59, names: &[] };
const HOUR: Field = Field { name: "hour", values: 0..=23, names: &[] };
const DAY: Field = Field { name: "day of the month", values: 1..=31, names: &[] };
const MONTH: Field = Field { name: "month", values: 1..=12, names: &MONTHS };
const WEEKDAY: Field = Field { name: "day of the week", values: 0..=7, names: &WEEKDAYS };
const YEAR: Field = Field { name: "year", values: 1..=MAX_YEAR, names: &[] };

/// Returns the fields of an expression, or an error text.
pub(super) fn parse(expression: &str) -> Result<CronPlan, String> {
    if expression.len() > MAX_LEN {
        return Err(format!("it is longer than {MAX_LEN} bytes"));
    }
    if let Some(unknown) = expression.chars().find(|c| !c.is_ascii()) {
        return Err(format!("it contains the unsupported character `{unknown}`"));
    }
    let mut fields: Vec<&str> = expression.split_ascii_whitespace().collect();
    if let [nickname] = fields[..]
        && nickname.starts_with('@')
    {
        let meaning = nickname_meaning(nickname)
            .ok_or_else(|| format!("`{nickname}` is not one of the nicknames {NICKNAMES}"))?;
        fields = meaning.split_ascii_whitespace().collect();
    }
    if !(5..=7).contains(&fields.len()) {
        return Err(format!("it has {} fields", fields.len()));
    }
    let seconds = if fields.len() > 5 { fields.remove(0) } else { "0" };
    // Checked in their order, so that the first wrong field is reported.
    let seconds = SECOND.values(seconds)?;
    let minutes = MINUTE.values(fields[0])?;
    let hours = HOUR.values(fields[1])?;
    let mut days = Days::default();
    read_days(fields[2], &mut days)?;
    days.months = MONTH.values(fields[3])?;
    read_weekdays(fields[4], &mut days)?;
    days.years = YEAR.spans(fields.get(5).unwrap_or(&"*"))?;
    Ok(CronPlan { days, hours, minutes, seconds })
}

const NICKNAMES: &str = "`@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily` and `@hourly`";

fn nickname_meaning(nickname: &str) -> Option<&'static str> {
    Some(match &*nickname.to_ascii_lowercase() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * SUN",
        "@daily" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return None,
    })
}

/// Parses the days of the month, with items such as `L`, `LW` and `15W`.
fn read_days(text: &str, days: &mut Days) -> Result<(), String> {
    if matches!(text, "*" | "?") {
        return Ok(());
    }
    days.any_day = false;
    for item in text.split(',') {
        let upper = item.to_ascii_uppercase();
        if upper == "L" {
            days.last = true;
        } else if upper == "LW" {
            days.last_workday = true;
        } else if let Some(day) = upper.strip_suffix('W').and_then(|day| DAY.value(day)) {
            days.nearest_workdays.add(Span::one(day));
        } else {
            days.days.add(DAY.item(item, text)?);
        }
    }
    Ok(())
}

/// Parses the days of the week, with items such as `5L`, `FRI#2` and `FRI#L`.
fn read_weekdays(text: &str, days: &mut Days) -> Result<(), String> {
    if text == "?" {
        return Ok(());
    }
    days.both = text.starts_with('+');
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "*" {
        return Ok(());
    }
    days.any_weekday = false;
    for item in text.split(',') {
        if let Some((day, nth)) = nth_weekday(item) {
            // Both 0 and 7 are Sunday.
            days.nth_weekdays[nth].add(Span::one(day % 7));
        } else {
            days.weekdays.add(WEEKDAY.item(item, text)?);
        }
    }
    days.weekdays.fold_sunday();
    Ok(())
}

/// Parses an item such as `5L`, `FRI#2` or `FRI#L` to the day and its index in `nth_weekdays`.
fn nth_weekday(item: &str) -> Option<(u16, usize)> {
    let (day, nth) = match item.split_once('#') {
        Some(parts) => parts,
        None => item.split_at_checked(item.len().checked_sub(1)?)?,
    };
    let nth = match nth {
        "1" | "2" | "3" | "4" | "5" if item.contains('#') => nth.parse::<usize>().ok()? - 1,
        "L" | "l" => Days::LAST,
        _ => return None,
    };
    Some((WEEKDAY.value(day)?, nth))
}

impl Field {
    fn values(&self, text: &str) -> Result<Values, String> {
        let mut values = Values::default();
        self.spans(text)?.into_iter().for_each(|span| values.add(span));
        Ok(values)
    }

    /// Parses a list.
    fn spans(&self, text: &str) -> Result<Vec<Span>, String> {
        if text == "*" {
            return Ok(vec![self.all(1)]);
        }
        text.split(',').map(|item| self.item(item, text)).collect()
    }

    /// Returns every value, or every `step`th from the first on.
    fn all(&self, step: u16) -> Span {
        Span { first: *self.values.start(), last: *self.values.end(), step }
    }

    /// Parses a value, `a-b`, `*/n` or `a-b/n`.
    fn item(&self, item: &str, text: &str) -> Result<Span, String> {
        let Field { name, values, .. } = self;
        if item.is_empty() {
            return Err(format!("the {name} `{text}` has an empty item"));
        }
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let step = match step {
            None => 1,
            Some(text) => {
                let max = *values.end();
                let Some(step) = number(text).filter(|step| (1..=max).contains(step)) else {
                    return Err(format!("the step of the {name} `{item}` is not within 1-{max}"));
                };
                if range == "*" {
                    return Ok(self.all(step));
                }
                if !range.contains('-') {
                    return Err(format!(
                        "the {name} `{item}` has a step without a range: write `*/{step}`, or a \
                         range such as `{range}-{max}/{step}`"
                    ));
                }
                step
            }
        };
        let value = |text: &str| {
            self.value(text).ok_or_else(|| {
                let (min, max) = (values.start(), values.end());
                format!("the {name} `{text}` is not within {min}-{max}")
            })
        };
        let Some((first, last)) = range.split_once('-') else {
            return value(range).map(Span::one);
        };
        let (first_value, mut last_value) = (value(first)?, value(last)?);
        if self.names == WEEKDAYS && last_value == 0 && number(last).is_none() {
            // In `FRI-SUN`, Sunday is the last day of the week.
            last_value = 7;
        }
        if first_value > last_value {
            return Err(format!("the {name} `{range}` runs backwards"));
        }
        Ok(Span { first: first_value, last: last_value, step })
    }

    /// Parses a number or a name.
    fn value(&self, text: &str) -> Option<u16> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|index| Some(self.values.start() + u16::try_from(index).ok()?));
        named.or_else(|| number(text)).filter(|value| self.values.contains(value))
    }
}

fn number(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn valid_expressions_pass() {
        for expression in [
            "* * * * *",
            "*/5 * * * * *",
            "0,30 9-17 1,15 jan-Mar MON-fri",
            "0 0 * * FRI-SUN",
            "0 0 L * *",
            "0 0 LW,15W * 2L",
            "0 12 * * MON#1,TUE#L",
            "0 0 13 * +FRI",
            "0 0 0 1 1 * 2099-2199/10",
            "59 23 31 12 7",
            "  0\t0 * * ?  ",
            "@daily",
        ] {
            assert!(parse(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn invalid_fields_are_reported() {
        for (expression, said) in [
            ("", "it has 0 fields"),
            ("* * * *", "it has 4 fields"),
            ("* * * * * * * *", "it has 8 fields"),
            (", * * * *", "the minute `,` has an empty item"),
            ("5,,6 * * * *", "the minute `5,,6` has an empty item"),
            ("* ,5 * * *", "the hour `,5` has an empty item"),
            ("* * 5, * *", "the day of the month `5,` has an empty item"),
            ("* * * * +", "the day of the week `` has an empty item"),
            ("5-1 * * * *", "the minute `5-1` runs backwards"),
            ("* * * DEC-JAN *", "the month `DEC-JAN` runs backwards"),
            ("* * * * SAT-MON", "the day of the week `SAT-MON` runs backwards"),
            ("9-5/2 * * * *", "the minute `9-5` runs backwards"),
            ("*/0 * * * *", "the step of the minute `*/0` is not within 1-59"),
            ("*/90 * * * *", "the step of the minute `*/90` is not within 1-59"),
            ("* */99999999 * * *", "is not within 1-23"),
            ("*/ * * * *", "the step of the minute `*/`"),
            ("/5 * * * *", "has a step without a range"),
            ("5/10 * * * *", "`5-59/10`"),
            ("60 * * * *", "the minute `60` is not within 0-59"),
            ("* 24 * * *", "the hour `24` is not within 0-23"),
            ("* * 0 * *", "the day of the month `0` is not within 1-31"),
            ("* * * 13 *", "the month `13` is not within 1-12"),
            ("* * * * 8", "the day of the week `8` is not within 0-7"),
            ("0 0 0 1 1 * 5001", "the year `5001` is not within 1-5000"),
            ("-1 * * * *", "the minute `` is not within 0-59"),
            ("+5 * * * *", "the minute `+5` is not within 0-59"),
            ("JAN * * * *", "the minute `JAN` is not within 0-59"),
            ("* * * MON *", "the month `MON` is not within 1-12"),
            ("* * * 1JAN *", "the month `1JAN` is not within 1-12"),
            ("* * * * L", "the day of the week `L` is not within 0-7"),
            ("* * * * MON#6", "the day of the week `MON#6` is not within 0-7"),
            ("* * 32W * *", "the day of the month `32W` is not within 1-31"),
            ("* * ?/2 * *", "the day of the month"),
            ("*,5 * * * *", "the minute `*` is not within 0-59"),
            ("* * * * mär", "the unsupported character `ä`"),
            ("99999999999 * * * *", "is not within 0-59"),
        ] {
            let error = parse(expression).unwrap_err();
            assert!(error.contains(said), "{expression}: {error}");
        }
        assert!(parse(&"1,".repeat(1 << 20)).unwrap_err().contains("longer than"));
    }
}
