//! Are runs at the right times at every transition of a time zone? The wall clock and the zone are
//! parameters of the search.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{
    DateTime, Datelike, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;

fn seconds(expression: &str, from: u64) -> u64 {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(from);
    let now = Now::at(Instant::now(), wall);
    let (at, next) = Cron::parse(expression).unwrap().next(&now, Duration::ZERO).unwrap();
    let wait = next.duration_since(wall).unwrap();
    assert_eq!(at - now.monotonic, wait);
    wait.as_secs()
}

#[test]
fn missing_seconds_are_zero() {
    assert_eq!(seconds("*/5 * * * * *", 1_000_000_002), 3);
    assert_eq!(seconds("*/5 * * * * *", 1_000_000_000), 5);
    // 1,000,000,020 is a whole minute.
    assert_eq!(seconds("* * * * *", 1_000_000_000), 20);
    assert_eq!(seconds("30 * * * * *", 1_000_000_020), 30);
}

#[test]
fn invalid_expression_error_shows_example() {
    let error = Cron::parse("every day").unwrap_err().to_string();
    assert!(error.contains("`every day` is not a cron expression"), "{error}");
    assert!(error.contains("*/5 * * * * *"), "{error}");
    let error = Cron::parse("0 0 30 2 *").unwrap_err().to_string();
    assert!(error.contains("it never matches a future time"), "{error}");
    let error = Cron::parse(&"ä".repeat(1 << 20)).unwrap_err().to_string();
    assert!(error.len() < 1000, "{error}");
}

#[test]
fn expression_without_match_fails_quickly() {
    let begun = Instant::now();
    for expression in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "* * * * * * 1999",
        "0 0 30 2 +MON",
        "0 0 1 1 +MON#2",
        "0 0 29 2 * * 2027",
        "0 0 0 29 2 +MON#1 *",
    ] {
        assert!(Cron::parse(expression).is_err(), "{expression}");
    }
    // 1,000 of them; one took seconds when each year up to 5000 was searched.
    for _ in 0..1000 {
        assert!(Cron::parse("0 0 30 2 +MON").is_err());
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Rare, and found: the 29th of February is a Monday every 28 years.
    assert!(Cron::parse("0 0 29 2 +MON").is_ok());
    assert!(Cron::parse("0 0 0 31 12 * 4999").is_ok());
}

fn cron(expression: &str) -> Cron {
    Cron::read(expression, &Utc, UNIX_EPOCH).expect("a cron expression")
}

fn zone(name: &str) -> Tz {
    name.parse().expect("a zone")
}

/// Returns the runs of a job after a time, as local times with their offsets.
fn runs(expression: &str, zone: &Tz, from: DateTime<Tz>, count: usize) -> Vec<String> {
    let cron = cron(expression);
    let mut now = SystemTime::from(from);
    let mut runs = Vec::new();
    while runs.len() < count {
        // Read a moment after the run, as a job does.
        now = cron.next_in(zone, now).expect("further runs") + Duration::from_millis(3);
        let at = DateTime::<Utc>::from(now).with_timezone(zone);
        runs.push(at.format("%d %H:%M:%S %:z").to_string());
    }
    runs
}

fn local(zone: &Tz, text: &str) -> DateTime<Tz> {
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").expect("a time");
    zone.from_local_datetime(&naive).earliest().expect("a time that exists")
}

#[track_caller]
fn assert_runs(name: &str, from: &str, expression: &str, expected: &[&str]) {
    let zone = zone(name);
    let seen = runs(expression, &zone, local(&zone, from), expected.len());
    assert_eq!(seen, expected, "{expression} in {name}");
}

#[test]
fn repeated_hour_runs_by_frequency() {
    let (new_york, from) = ("America/New_York", "2026-11-01 00:50:00");
    assert_runs(
        new_york,
        from,
        "*/20 * * * *",
        &[
            "01 01:00:00 -04:00",
            "01 01:20:00 -04:00",
            "01 01:40:00 -04:00",
            "01 01:00:00 -05:00",
            "01 01:20:00 -05:00",
            "01 01:40:00 -05:00",
            "01 02:00:00 -05:00",
        ],
    );
    assert_runs(
        new_york,
        from,
        "0 * * * *",
        &["01 01:00:00 -04:00", "01 01:00:00 -05:00", "01 02:00:00 -05:00"],
    );
    // In one hour of the day, several times.
    assert_runs(
        new_york,
        from,
        "*/30 1 * * *",
        &["01 01:00:00 -04:00", "01 01:30:00 -04:00", "01 01:00:00 -05:00", "01 01:30:00 -05:00"],
    );
    // At certain hours: once.
    assert_runs(new_york, from, "30 1 * * *", &["01 01:30:00 -04:00", "02 01:30:00 -05:00"]);
    assert_runs(
        new_york,
        from,
        "30 1,13 * * *",
        &["01 01:30:00 -04:00", "01 13:30:00 -05:00", "02 01:30:00 -05:00"],
    );
    assert_runs(
        "Europe/Berlin",
        "2026-10-25 01:30:00",
        "0 */2 * * *",
        &["25 02:00:00 +02:00", "25 04:00:00 +01:00"],
    );
    // A job that is created during the second occurrence has missed the first.
    let zone = zone(new_york);
    let second = local(&zone, "2026-11-01 01:10:00") + TimeDelta::hours(1);
    assert_eq!(runs("30 1 * * *", &zone, second, 1), ["02 01:30:00 -05:00"]);
    // The clock is set by half an hour.
    assert_runs(
        "Australia/Lord_Howe",
        "2026-04-05 01:30:00",
        "*/15 * * * *",
        &["05 01:45:00 +11:00", "05 01:30:00 +10:30", "05 01:45:00 +10:30", "05 02:00:00 +10:30"],
    );
    assert_runs(
        "Australia/Lord_Howe",
        "2026-04-05 01:30:00",
        "45 1 * * *",
        &["05 01:45:00 +11:00", "06 01:45:00 +10:30"],
    );
    // The clock is set by two hours.
    assert_runs(
        "Antarctica/Troll",
        "2026-10-25 00:50:00",
        "30 1,2 * * *",
        &["25 01:30:00 +02:00", "25 02:30:00 +02:00", "26 01:30:00 +00:00"],
    );
    // A day that ends twice.
    assert_runs(
        "America/Sao_Paulo",
        "2018-02-17 22:50:00",
        "30 23 * * *",
        &["17 23:30:00 -02:00", "18 23:30:00 -03:00"],
    );
}

#[test]
fn skipped_hour_runs_after_gap() {
    let from = "2026-03-08 01:50:00";
    assert_runs(
        "America/New_York",
        from,
        "30 2 * * *",
        &["08 03:00:00 -04:00", "09 02:30:00 -04:00"],
    );
    // Two skipped times are one run, also together with one that is due right after the gap.
    assert_runs(
        "America/New_York",
        from,
        "15,45 2,3 * * *",
        &["08 03:00:00 -04:00", "08 03:15:00 -04:00", "08 03:45:00 -04:00", "09 02:15:00 -04:00"],
    );
    assert_runs(
        "America/New_York",
        from,
        "0 2,3 * * *",
        &["08 03:00:00 -04:00", "09 02:00:00 -04:00"],
    );
    assert_runs(
        "America/New_York",
        from,
        "*/20 * * * *",
        &["08 03:00:00 -04:00", "08 03:20:00 -04:00"],
    );
    // Every hour: skipped times are not made up for.
    assert_runs(
        "America/New_York",
        from,
        "7 * * * *",
        &["08 03:07:00 -04:00", "08 04:07:00 -04:00"],
    );
    assert_runs(
        "Australia/Lord_Howe",
        "2026-10-04 01:50:00",
        "10 2 * * *",
        &["04 02:30:00 +11:00", "05 02:10:00 +11:00"],
    );
    assert_runs(
        "Antarctica/Troll",
        "2026-03-29 00:50:00",
        "30 1,2 * * *",
        &["29 03:00:00 +02:00", "30 01:30:00 +02:00"],
    );
    // No midnight.
    for (name, from, run) in [
        ("America/Sao_Paulo", "2018-11-03 12:00:00", "04 01:00:00 -02:00"),
        ("Africa/Cairo", "2026-04-23 12:00:00", "24 01:00:00 +03:00"),
        ("Asia/Beirut", "2026-03-28 12:00:00", "29 01:00:00 +03:00"),
        ("America/Santiago", "2026-09-05 12:00:00", "06 01:00:00 -03:00"),
    ] {
        assert_runs(name, from, "0 0 * * *", &[run]);
        assert_runs(name, from, "@daily", &[run]);
    }
}

#[test]
fn skipped_day_has_no_runs() {
    let from = "2011-12-29 05:00:00";
    assert_runs("Pacific/Apia", from, "30 4 * * *", &["31 04:30:00 +14:00", "01 04:30:00 +14:00"]);
    assert_runs("Pacific/Apia", from, "0 0 * * *", &["31 00:00:00 +14:00"]);
    assert_runs("Pacific/Apia", from, "0 */6 30,31 * *", &["31 00:00:00 +14:00"]);
    // Like 30 February.
    let zone = zone("Pacific/Apia");
    let next = cron("0 12 30 12 *").next_in(&zone, local(&zone, from).into()).unwrap();
    assert_eq!(DateTime::<Utc>::from(next).with_timezone(&zone).year(), 2012);
    assert_runs(
        "Pacific/Kwajalein",
        "1993-08-20 13:00:00",
        "0 12 * * *",
        &["22 12:00:00 +12:00", "23 12:00:00 +12:00"],
    );
}

#[test]
fn zones_without_transitions() {
    assert_runs(
        "UTC",
        "2026-11-01 00:50:00",
        "30 1 * * *",
        &["01 01:30:00 +00:00", "02 01:30:00 +00:00"],
    );
    assert_runs(
        "Asia/Kolkata",
        "2026-11-01 00:50:00",
        "*/30 * * * *",
        &["01 01:00:00 +05:30", "01 01:30:00 +05:30", "01 02:00:00 +05:30"],
    );
}

#[test]
fn extreme_times_do_not_panic() {
    let cron = cron("30 4 * * *");
    for from in [
        UNIX_EPOCH - Duration::from_secs(3_000_000_000),
        UNIX_EPOCH - Duration::from_nanos(1),
        UNIX_EPOCH,
    ] {
        let wait = cron.next_in(&Utc, from).unwrap().duration_since(from).unwrap();
        assert!(wait <= Duration::from_secs(24 * 3600), "{wait:?}");
    }
    for years in [2950, 2975, 10_000, 262_000, 1_000_000, 200_000_000_000] {
        if let Some(from) = UNIX_EPOCH.checked_add(Duration::from_secs(years * 31_556_952)) {
            let next = cron.next_in(&Local, from);
            assert_eq!(next.is_some(), years < 3000, "{years}");
        }
        if let Some(from) = UNIX_EPOCH.checked_sub(Duration::from_secs(years * 31_556_952)) {
            // Before the calendar of the crate begins: must not panic.
            let _ = cron.next_in(&Local, from);
        }
    }
    let now = Now::read(None);
    for first in [Duration::MAX, Duration::from_secs(u64::MAX / 2), Duration::from_secs(1 << 62)] {
        assert!(cron.next(&now, first).is_none());
    }
}

/// Computes the runs second by second, from what the clock shows and has shown before.
fn reference_runs(
    fits: &dyn Fn(NaiveDateTime) -> bool,
    all_hours: bool,
    repeats: bool,
    zone: &Tz,
    from: i64,
    until: i64,
) -> Vec<i64> {
    let shown = |at: i64| {
        let at = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
        at + TimeDelta::seconds(zone.offset_from_utc_datetime(&at).fix().local_minus_utc().into())
    };
    let mut next_new = shown(from - 30 * 3600);
    let mut runs = Vec::new();
    for at in from - 30 * 3600..until {
        let now = shown(at);
        let mut due = fits(now) && (repeats || now >= next_new);
        if !all_hours {
            let mut passed = next_new;
            while passed < now {
                let midnight = passed.date().and_time(NaiveTime::MIN);
                let whole_day = next_new <= midnight && midnight + TimeDelta::days(1) <= now;
                due |= !whole_day && fits(passed);
                passed += TimeDelta::seconds(1);
            }
        }
        next_new = next_new.max(now + TimeDelta::seconds(1));
        if due && at > from {
            runs.push(at);
        }
    }
    runs
}

/// Zones, with a local time shortly before a transition.
const CHANGES: &[(&str, &str)] = &[
    ("America/New_York", "2026-11-01 01:00:00"),
    ("America/New_York", "2026-03-08 01:00:00"),
    ("Europe/Berlin", "2026-10-25 02:00:00"),
    ("Europe/Berlin", "2026-03-29 01:00:00"),
    ("Australia/Sydney", "2026-04-05 02:00:00"),
    ("Australia/Sydney", "2026-10-04 01:00:00"),
    ("Australia/Lord_Howe", "2026-04-05 01:00:00"),
    ("Australia/Lord_Howe", "2026-10-04 01:00:00"),
    ("Antarctica/Troll", "2026-03-29 00:30:00"),
    ("Antarctica/Troll", "2026-10-25 00:30:00"),
    ("America/Sao_Paulo", "2018-11-03 23:00:00"),
    ("America/Sao_Paulo", "2018-02-17 23:00:00"),
    ("Africa/Cairo", "2026-04-23 23:00:00"),
    ("Africa/Cairo", "2026-10-29 23:00:00"),
    ("Asia/Beirut", "2026-03-28 23:00:00"),
    ("America/Santiago", "2026-09-05 23:00:00"),
    ("America/Santiago", "2026-04-04 23:00:00"),
    ("Africa/Casablanca", "2026-02-15 02:00:00"),
    ("Pacific/Apia", "2011-12-29 23:00:00"),
    ("Pacific/Kwajalein", "1993-08-20 23:00:00"),
    ("Asia/Pyongyang", "2018-05-04 23:00:00"),
    ("America/Caracas", "2016-05-01 02:00:00"),
    ("America/Juneau", "1867-10-18 10:00:00"),
    ("UTC", "2026-11-01 01:00:00"),
    ("Asia/Kolkata", "2026-11-01 01:00:00"),
];

/// Generates the text of a field, with the values that it matches.
fn values(max: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
    let list = prop::collection::btree_set(0..=max, 1..4).prop_map(|set| {
        let list: Vec<u32> = set.into_iter().collect();
        (list.iter().map(u32::to_string).collect::<Vec<_>>().join(","), list)
    });
    let step = (1..=max).prop_map(move |step| {
        (format!("*/{step}"), (0..=max).step_by(step as usize).collect::<Vec<_>>())
    });
    prop_oneof![Just(("*".to_owned(), (0..=max).collect())), list, step]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The search finds the same runs as the reference, around every kind of transition.
    #[test]
    fn search_matches_reference(
        change in prop::sample::select(CHANGES),
        second in prop_oneof![3 => Just(("0".to_owned(), vec![0])), 1 => values(59)],
        minute in values(59),
        hour in prop_oneof![
            1 => Just(("*".to_owned(), (0..24).collect())), 1 => values(23),
            // The hours of most transitions.
            3 => prop::sample::select(vec![23u32, 0, 1, 2, 3]).prop_map(|h| (h.to_string(), vec![h])),
        ],
        before in 0i64..10 * 3600,
    ) {
        let zone = zone(change.0);
        let from = local(&zone, change.1).timestamp() - before;
        let until = from + 40 * 3600;
        let expression = format!("{} {} {} * * *", second.0, minute.0, hour.0);
        let cron = cron(&expression);
        let fits = |at: NaiveDateTime| {
            hour.1.contains(&at.hour()) && minute.1.contains(&at.minute())
                && second.1.contains(&at.second())
        };
        let all_hours = hour.1.len() == 24;
        let repeats = all_hours || minute.1.len() > 1 || second.1.len() > 1;
        let expected = reference_runs(&fits, all_hours, repeats, &zone, from, until);
        const MAX_RUNS: usize = 500;
        let is_whole = expected.len() <= MAX_RUNS;
        let mut at = from;
        for run in expected.into_iter().take(MAX_RUNS) {
            let next = cron.0.next(&zone, at);
            prop_assert_eq!(next, Some(run), "{} in {} after {}", expression, change.0, at);
            at = run;
        }
        if is_whole {
            let next = cron.0.next(&zone, at);
            prop_assert!(next.is_none_or(|next| next >= until), "{expression} in {}", change.0);
        }
    }

    /// An untrusted expression is parsed or rejected, without delay.
    #[test]
    fn any_expression_parses_or_fails_quickly(expression in prop_oneof![
        "\\PC{0,40}",
        "[0-9*/,#LW?+@ -]{0,40}",
        prop::collection::vec("[*?]|[0-9]{1,4}|[0-9]{1,2}-[0-9]{1,2}|\\*/[0-9]{1,3}|[0-9]{1,2}[LW]|[A-Z]{3}|[0-7]#[0-9]|,", 5..8)
            .prop_map(|fields| fields.join(" ")),
    ]) {
        let begun = Instant::now();
        let read = Cron::parse(&expression);
        prop_assert!(begun.elapsed() < Duration::from_secs(2), "{expression}");
        if let Ok(cron) = read {
            prop_assert!(cron.next(&Now::read(None), Duration::ZERO).is_some());
        }
    }
}
