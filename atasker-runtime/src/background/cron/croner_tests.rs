//! Does an expression mean the same as to the crate `croner`, an independent implementation?

use chrono::{Datelike, Days, NaiveDate};
use croner::{CronComponent, CronPattern, Weekday};
use proptest::prelude::*;

use super::fields::parse;
use super::values::Values;

fn croner(expression: &str) -> CronPattern {
    let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional);
    parser.build().parse(expression).expect("an expression that croner accepts").pattern
}

fn has_day(pattern: &CronPattern, day: NaiveDate) -> bool {
    let weekday = Weekday::from_days_from_sunday(day.weekday().num_days_from_sunday());
    pattern.month_match(day.month()).unwrap()
        && pattern.year_match(day.year()).unwrap()
        && pattern.day_match(day.year(), day.month(), day.day(), weekday).unwrap()
}

fn list(values: Values, max: u32) -> Vec<u16> {
    (0..=max).filter(|value| values.has(*value)).map(|value| value as u16).collect()
}

#[track_caller]
fn assert_same(expression: &str, from: NaiveDate, days: u64) {
    let (own, other) = (parse(expression).expect(expression), croner(expression));
    let same = |own: Values, other: &CronComponent| {
        assert_eq!(list(own, 59), other.values(), "{expression}");
    };
    same(own.seconds, &other.seconds);
    same(own.minutes, &other.minutes);
    same(own.hours, &other.hours);
    for day in (0..days).map(|days| from + Days::new(days)) {
        assert_eq!(own.days.has(day), has_day(&other, day), "{expression} on {day}");
    }
}

/// Generates a value, a range or a range with a step, in digits or, if there are any, in names.
fn item(min: u32, max: u32, names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let text = move |value: u32, named: bool| match names.get((value - min) as usize) {
        Some(name) if named => (*name).to_owned(),
        _ => value.to_string(),
    };
    (min..=max, min..=max, 1..=max, 0..4, any::<[bool; 2]>()).prop_map(
        move |(a, b, step, kind, [first_named, last_named])| {
            let (first, last) = (a.min(b), a.max(b));
            let (first, last) = (text(first, first_named), text(last, last_named));
            match kind {
                0 => first,
                1 => format!("{first}-{last}"),
                2 => format!("{first}-{last}/{step}"),
                _ => format!("*/{step}"),
            }
        },
    )
}

fn field(item: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    let list = prop::collection::vec(item, 1..4).prop_map(|items| items.join(","));
    prop_oneof![1 => Just("*".to_owned()), 3 => list]
}

fn days() -> impl Strategy<Value = String> {
    // Not `L` beside `LW`, which croner takes for `LW` alone.
    let special = || prop_oneof![(1..=31u32).prop_map(|day| format!("{day}W")), item(1, 31, &[])];
    prop_oneof![
        1 => Just("?".to_owned()),
        2 => field(prop_oneof![1 => Just("L".to_owned()), 2 => special()]),
        2 => field(prop_oneof![1 => Just("lw".to_owned()), 2 => special()]),
        1 => field(item(1, 31, &[])),
    ]
}

fn weekdays() -> impl Strategy<Value = String> {
    // Without `SAT-SUN` and the like, which have a test below: Sunday is 0 here.
    const NAMES: &[&str] = &["sun", "Mon", "TUE", "wed", "Thu", "FRI", "sat"];
    let day = || {
        prop_oneof![
            (0..=7u32).prop_map(|day| day.to_string()),
            prop::sample::select(NAMES).prop_map(str::to_owned),
        ]
    };
    let nth = (day(), 1..=5u32).prop_map(|(day, nth)| format!("{day}#{nth}"));
    let last = (day(), prop::sample::select(&["L", "#L", "l"])).prop_map(|(day, l)| day + l);
    let any = prop_oneof![2 => item(0, 7, NAMES), 1 => nth, 1 => last];
    let field = ("[+]?", field(any)).prop_map(|(both, field)| both + &field);
    prop_oneof![1 => Just("?".to_owned()), 6 => field]
}

fn expressions() -> impl Strategy<Value = String> {
    const MONTHS: &[&str] =
        &["jan", "FEB", "Mar", "apr", "MAY", "Jun", "jul", "AUG", "Sep", "oct", "NOV", "Dec"];
    let years = prop_oneof![Just("*".to_owned()), field(item(2020, 2060, &[]))];
    let fields = (
        prop::option::of(field(item(0, 59, &[]))),
        field(item(0, 59, &[])),
        field(item(0, 23, &[])),
        days(),
        field(item(1, 12, MONTHS)),
        weekdays(),
        prop::option::of(years),
    );
    fields.prop_map(|(second, minute, hour, day, month, weekday, year)| {
        let rest = [minute, hour, day, month, weekday].join(" ");
        match (second, year) {
            (None, _) => rest,
            (Some(second), None) => format!("{second} {rest}"),
            (Some(second), Some(year)) => format!("{second} {rest} {year}"),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn expressions_mean_the_same(expression in expressions(), year in 2019..2062i32, day in 1..366u32) {
        let from = NaiveDate::from_yo_opt(year, day).unwrap();
        assert_same(&expression, from, 100);
    }
}

#[test]
fn special_days_mean_the_same() {
    let from = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
    for expression in [
        "@yearly",
        "@ANNUALLY",
        "@monthly",
        "@Weekly",
        "@daily",
        "@hourly",
        "0 0 L * *",
        "0 0 LW * *",
        "0 0 1W,15W,30W,31W * *",
        "0 0 31 * *",
        "0 0 * * 5L",
        "0 0 * * SUN#5,7#1,0#L",
        "0 0 13 * FRI",
        "0 0 13 * +FRI",
        "0 0 * * +FRI",
        "0 0 13 * +*",
        "0 0 */1 * MON",
        "0 0 1 * */1",
        "0 0 * * */7",
        "0 0 * * FRI-SUN",
        "0 0 * * sun-Sun",
        "0 0 * * 0-SUN/3",
        "0 0 * * 5-7",
        "0 0 29 FEB ?",
    ] {
        // 28 years have each weekday on each date, leap days included.
        assert_same(expression, from, 28 * 366);
    }
}

#[test]
fn last_day_and_last_workday_can_be_combined() {
    let own = parse("0 0 L,LW * *").unwrap();
    let matching = |from: &str| -> Vec<u32> {
        let from: NaiveDate = from.parse().unwrap();
        let days = (0..31).map(|days| from + Days::new(days));
        days.filter(|day| own.days.has(*day)).map(|day| day.day()).collect()
    };
    // Saturday and Friday.
    assert_eq!(matching("2026-02-01"), [27, 28]);
    // A Tuesday is both.
    assert_eq!(matching("2026-03-01"), [31]);
}
