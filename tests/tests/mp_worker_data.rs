//! With which types can the worker data be read, and what happens if another type is requested?

use std::panic::catch_unwind;

use atasker::{MpPoolConfig, background_task, worker_data};
use atasker_tests::events::{self, Seen};
use atasker_tests::mp::supervisor;
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

// One test, because the program has one value, the one that was set last.
#[test]
fn data_is_found_by_owned_type_only() {
    events::record();
    let words = supervisor(MpPoolConfig::new(1).worker_data("hello"));
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

    let array = supervisor(MpPoolConfig::new(1).worker_data(&[1u32, 2]));
    let found = (Some(vec![1, 2]), Some([1, 2]));
    assert_eq!(numbers::builder().supervisor(&array).start().join().unwrap(), found);
    assert_eq!(worker_data::<Vec<u32>>().unwrap(), &[1, 2]);
    let slice = supervisor(MpPoolConfig::new(1).worker_data(&[1u32, 2][..]));
    let found = (Some(vec![1, 2]), None);
    assert_eq!(numbers::builder().supervisor(&slice).start().join().unwrap(), found);

    let asks = supervisor(MpPoolConfig::new(1).worker_data(&Curious(true)));
    let outcome = curious::builder().supervisor(&asks).start().join().unwrap();
    assert_eq!(outcome, (Some(true), true), "nested reads return none");
    assert!(worker_data::<Curious>().unwrap().0);
    let panics = supervisor(MpPoolConfig::new(1).worker_data(&Curious(false)));
    let outcome = curious::builder().supervisor(&panics).start().join().unwrap();
    assert_eq!(outcome, (None, false));
    for _ in 0..2 {
        assert!(catch_unwind(worker_data::<Curious>).is_err());
    }
    let _bad = supervisor(MpPoolConfig::new(1).worker_data(&Bad));
    assert!(worker_data::<Bad>().is_none());
}
