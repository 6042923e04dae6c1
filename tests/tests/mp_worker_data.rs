//! Which worker data does a process have, with which types can it be read, and what happens if
//! another type is requested?

use std::panic::catch_unwind;
use std::sync::{Mutex, PoisonError};

use atasker::{Supervisor, background_task, worker_data};
use atasker_tests::events::{self, Seen};
use atasker_tests::mp::{pool_of, supervisor};
use serde::de::{Deserialize, Deserializer, Error};
use tracing::Level;

#[background_task(tt = "mp")]
fn text() -> Option<String> {
    worker_data::<String>().cloned()
}

#[background_task(tt = "mp")]
fn numbers() -> (Option<Vec<u32>>, Option<[u32; 2]>) {
    (worker_data::<Vec<u32>>().cloned(), worker_data::<[u32; 2]>().copied())
}

#[background_task(tt = "mp")]
fn asks_for_another_type() -> (bool, bool) {
    (worker_data::<u64>().is_none(), worker_data::<u64>().is_none())
}

/// Requests data while it is decoded: of its own type and a text.
struct Curious(bool);

impl<'de> Deserialize<'de> for Curious {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = u8::deserialize(from)?;
        if value == 13 {
            panic!("thirteen");
        }
        let _ = worker_data::<String>();
        Ok(Curious(worker_data::<Curious>().is_none()))
    }
}

impl serde::Serialize for Curious {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(if self.0 { 1 } else { 13 })
    }
}

/// Cannot be decoded.
#[derive(serde::Serialize)]
struct Bad;

impl<'de> Deserialize<'de> for Bad {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(Error::custom("there is no Bad"))
    }
}

#[background_task(tt = "mp")]
fn curious() -> (Option<bool>, bool) {
    let panics = std::panic::catch_unwind(|| worker_data::<Curious>().map(|data| data.0));
    let again = std::panic::catch_unwind(|| worker_data::<Curious>().is_some());
    (panics.unwrap_or(None), again.is_ok())
}

/// Builds a supervisor with other data, and returns what is found afterwards.
#[background_task(tt = "mp")]
fn builds_supervisor() -> (Option<String>, bool) {
    let config = pool_of(1).worker_data(&7u32);
    let sup = Supervisor::builder().mp_pool(config.clone()).build();
    let before = worker_data::<String>().cloned();
    sup.set_mp_pool(config.worker_data("other"));
    (before, worker_data::<String>().map(String::as_str) == Some("pool"))
}

/// Held by each test, because the program has one value, the one that was set last.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn program_finds_what_was_set_last() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let found = || worker_data::<String>().map(String::as_str);
    let first = supervisor(pool_of(1).worker_data("first"));
    let second = supervisor(pool_of(1).worker_data("second"));
    assert_eq!(found(), Some("second"));
    // This sets no data, only a size.
    first.set_mp_pool(first.mp_pool().max_tasks_per_worker(9));
    assert_eq!(found(), Some("second"));
    assert_eq!(text::builder().supervisor(&first).start().join().unwrap().unwrap(), "first");
    let plain = supervisor(pool_of(1));
    plain.set_mp_pool(pool_of(2));
    assert_eq!(found(), Some("second"));

    first.set_mp_pool(pool_of(1).worker_data("first"));
    assert_eq!(found(), Some("first"));
    let decoded = worker_data::<String>().unwrap();
    first.set_mp_pool(pool_of(2).worker_data("first"));
    assert!(std::ptr::eq(decoded, worker_data::<String>().unwrap()), "an equal value is decoded");

    // A pool without data takes its own back only.
    second.set_mp_pool(pool_of(1));
    assert_eq!(found(), Some("first"));
    first.set_mp_pool(pool_of(1));
    assert_eq!(found(), None);
    assert_eq!(text::builder().supervisor(&first).start().join().unwrap(), None);
}

#[test]
fn worker_process_keeps_data_of_its_pool() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sup = supervisor(pool_of(1).worker_data("pool"));
    let task = builds_supervisor::builder().supervisor(&sup).start();
    assert_eq!(task.join().unwrap(), (Some("pool".into()), true));
}

#[test]
fn data_is_found_by_owned_type_only() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    events::record();
    let words = supervisor(pool_of(1).worker_data("hello"));
    assert_eq!(text::builder().supervisor(&words).start().join().unwrap().unwrap(), "hello");
    assert_eq!(worker_data::<String>().unwrap(), "hello");

    let mismatches = |pid: bool| {
        let of_u64 = |seen: &Seen| {
            seen.level == Level::WARN
                && [&*seen.message].iter().any(|text| text.contains("u64") && text.contains("str"))
                && seen.field("worker").is_empty() != pid
        };
        events::seen(of_u64).len()
    };
    let another = asks_for_another_type::builder().supervisor(&words).start();
    assert_eq!(another.join().unwrap(), (true, true));
    assert_eq!(mismatches(true), 1, "{:?}", events::seen(|_| true));
    for _ in 0..3 {
        assert!(worker_data::<u64>().is_none());
    }
    assert_eq!(mismatches(false), 1);

    let array = supervisor(pool_of(1).worker_data(&[1u32, 2]));
    let found = (Some(vec![1, 2]), Some([1, 2]));
    assert_eq!(numbers::builder().supervisor(&array).start().join().unwrap(), found);
    assert_eq!(worker_data::<Vec<u32>>().unwrap(), &[1, 2]);
    let slice = supervisor(pool_of(1).worker_data(&[1u32, 2][..]));
    let found = (Some(vec![1, 2]), None);
    assert_eq!(numbers::builder().supervisor(&slice).start().join().unwrap(), found);

    let asks = supervisor(pool_of(1).worker_data(&Curious(true)));
    let outcome = curious::builder().supervisor(&asks).start().join().unwrap();
    assert_eq!(outcome, (Some(true), true), "nested reads return none");
    assert!(worker_data::<Curious>().unwrap().0);
    let panics = supervisor(pool_of(1).worker_data(&Curious(false)));
    let outcome = curious::builder().supervisor(&panics).start().join().unwrap();
    assert_eq!(outcome, (None, false));
    for _ in 0..2 {
        assert!(catch_unwind(worker_data::<Curious>).is_err());
    }
    let _bad = supervisor(pool_of(1).worker_data(&Bad));
    assert!(worker_data::<Bad>().is_none());
}
