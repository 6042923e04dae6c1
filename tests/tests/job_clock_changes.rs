//! Does a cron job run correctly while the program's time zone sets its clock back?
//!
//! The rules are tested beside the search (`background::cron`). This test verifies that jobs use
//! it: a child process has a time zone whose summer time ends a few seconds after its start.

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atasker::{Job, Supervisor};
use atasker_tests::FAR;

const CHILD: &str = "ATASKER_TEST_END_OF_SUMMER";

/// Printed by a child process that started too late.
const LATE: &str = "summer time has ended";

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A time zone that is one hour ahead of UTC in summer, until the given time.
fn summer_ends_at(moment: u64) -> String {
    let shown = moment + 3600;
    let day_of_year = {
        let mut days = shown / 86_400;
        let mut year = 1970;
        loop {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let len = if leap { 366 } else { 365 };
            if days < len {
                break days;
            }
            days -= len;
            year += 1;
        }
    };
    let (h, m, s) = (shown / 3600 % 24, shown / 60 % 60, shown % 60);
    format!("WIN0SUM-1,0/0,{day_of_year}/{h}:{m}:{s}")
}

#[test]
fn job_continues_when_clock_is_set_back() {
    if let Ok(end) = std::env::var(CHILD) {
        return at_the_end_of_summer(end.parse().expect("a unix time"));
    }
    for room in [5, 30, 120] {
        let end = unix_time() + room;
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "job_continues_when_clock_is_set_back", "--nocapture"])
            .env("TZ", summer_ends_at(end))
            .env(CHILD, end.to_string())
            .output()
            .expect("the child starts");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        if !String::from_utf8_lossy(&child.stdout).contains(LATE) {
            return;
        }
    }
    panic!("the child never starts before its summer time ends");
}

fn at_the_end_of_summer(end: u64) {
    let sup = Supervisor::builder().build();
    let (tx, rx) = mpsc::channel();
    let _job = sup.create_job(Job::cron("* * * * * *"), move || tx.send(unix_time()).unwrap());
    if unix_time() >= end {
        println!("{LATE}");
        return;
    }
    // By the wall clock, the next second is an hour away when summer time ends.
    while rx.recv_timeout(FAR).expect("the job continues") < end + 3 {}
}

#[test]
fn invalid_expressions_are_rejected() {
    for wrong in [", * * * *", "5-1 * * * *", "*/0 * * * *", "0 0 30 2 *", "0 0 0 1 1 * 1999"] {
        let error = Job::try_cron(wrong).unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
        let panic = std::panic::catch_unwind(|| drop(Job::cron(wrong))).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>(), Some(&error));
    }
    let sup = Supervisor::builder().build();
    let job = sup.create_job(Job::cron("0 0 1 1 *").after(Duration::from_secs(1 << 40)), || ());
    assert_eq!(job.runs(), 0);
}
