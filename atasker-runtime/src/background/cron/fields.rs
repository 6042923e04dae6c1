//! Checks the fields of a cron expression before the crate `croner` parses them, because `croner`
//! ignores empty items and accepts names in every field.

use std::ops::RangeInclusive;

/// The maximum length in bytes. An expression that lists every value of every field is shorter.
const MAX_LEN: usize = 4096;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A field of an expression.
struct Field {
    name: &'static str,
    values: RangeInclusive<u16>,
    /// Names of the values, from the first value on.
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", values: 0..=59, names: &[] };
const FIELDS: [Field; 6] = [
    Field { name: "minute", values: 0..=59, names: &[] },
    Field { name: "hour", values: 0..=23, names: &[] },
    Field { name: "day of the month", values: 1..=31, names: &[] },
    Field { name: "month", values: 1..=12, names: &MONTHS },
    Field { name: "day of the week", values: 0..=7, names: &WEEKDAYS },
    Field { name: "year", values: 1..=5000, names: &[] },
];
const DAY: usize = 2;
const WEEKDAY: usize = 4;

/// Returns an error text if the expression is invalid.
pub(super) fn check(expression: &str) -> Result<(), String> {
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
        return Ok(());
    }
    if !(5..=7).contains(&fields.len()) {
        return Err(format!("it has {} fields", fields.len()));
    }
    if fields.len() > 5 {
        SECOND.check_list(fields.remove(0), |_| false)?;
    }
    for (index, (field, text)) in FIELDS.iter().zip(fields).enumerate() {
        match index {
            DAY | WEEKDAY if text == "?" => {}
            DAY => field.check_list(text, |item| field.is_special_day(item))?,
            WEEKDAY => {
                let text = text.strip_prefix('+').unwrap_or(text);
                field.check_list(text, |item| field.is_special_weekday(item))?;
            }
            _ => field.check_list(text, |_| false)?,
        }
    }
    Ok(())
}

impl Field {
    fn check_list(&self, text: &str, is_special: impl Fn(&str) -> bool) -> Result<(), String> {
        if text == "*" {
            return Ok(());
        }
        text.split(',').try_for_each(|item| {
            if is_special(item) { Ok(()) } else { self.check_item(item, text) }
        })
    }

    /// Checks a value, `a-b`, `*/n` or `a-b/n`.
    fn check_item(&self, item: &str, text: &str) -> Result<(), String> {
        let Field { name, values, .. } = self;
        if item.is_empty() {
            return Err(format!("the {name} `{text}` has an empty item"));
        }
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        if let Some(step) = step {
            let max = *values.end();
            if !number(step).is_some_and(|step| (1..=max).contains(&step)) {
                return Err(format!("the step of the {name} `{item}` is not within 1-{max}"));
            }
            if range == "*" {
                return Ok(());
            }
            if !range.contains('-') {
                return Err(format!(
                    "the {name} `{item}` has a step without a range: write `*/{step}`, or a range such \
                     as `{range}-{max}/{step}`"
                ));
            }
        }
        let value = |text: &str| {
            self.value(text).ok_or_else(|| {
                let (min, max) = (values.start(), values.end());
                format!("the {name} `{text}` is not within {min}-{max}")
            })
        };
        let Some((first, last)) = range.split_once('-') else {
            return value(range).map(drop);
        };
        let (first_value, mut last_value) = (value(first)?, value(last)?);
        if self.names == WEEKDAYS && last_value == 0 && number(last).is_none() {
            // In `FRI-SUN`, Sunday is the last day of the week.
            last_value = 7;
        }
        if first_value > last_value {
            return Err(format!("the {name} `{range}` runs backwards"));
        }
        Ok(())
    }

    /// Parses a number or a name.
    fn value(&self, text: &str) -> Option<u16> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|index| Some(self.values.start() + u16::try_from(index).ok()?));
        named.or_else(|| number(text)).filter(|value| self.values.contains(value))
    }

    /// Returns whether an item is `L`, `LW`, or like `15W`.
    fn is_special_day(&self, item: &str) -> bool {
        let item = item.to_ascii_uppercase();
        let day = item.strip_suffix('W').and_then(|day| self.value(day));
        matches!(&*item, "L" | "LW") || day.is_some()
    }

    /// Returns whether an item is like `5L`, `FRI#2` or `FRI#L`.
    fn is_special_weekday(&self, item: &str) -> bool {
        let item = item.to_ascii_uppercase();
        let (day, is_known) = match item.split_once('#') {
            Some((day, nth)) => (day, matches!(nth, "1" | "2" | "3" | "4" | "5" | "L")),
            None => (item.strip_suffix('L').unwrap_or(""), true),
        };
        is_known && self.value(day).is_some()
    }
}

fn number(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::check;

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
            assert_eq!(check(expression), Ok(()), "{expression}");
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
            let error = check(expression).unwrap_err();
            assert!(error.contains(said), "{expression}: {error}");
        }
        assert!(check(&"1,".repeat(1 << 20)).unwrap_err().contains("longer than"));
    }
}
