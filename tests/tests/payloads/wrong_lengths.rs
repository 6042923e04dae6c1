//! Is a length that is wrong in an encoded value an error, and never memory or time?

use atasker::{Supervisor, TaskContext, TaskError, WorkerStdio, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Watchdog};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn pool() -> Supervisor {
    Supervisor::builder().mp_pool(pool_of(1).stdio(WorkerStdio::Null)).build()
}

/// More than there is memory.
const FAR_TOO_LONG: u64 = 60_000_000_000;

/// A common mistake: bincode does not see that a field is left out.
#[derive(Serialize, Deserialize, Debug)]
struct Report {
    data: Vec<u8>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    note: String,
    bytes: u64,
}

/// Encoded as one type and decoded as another.
macro_rules! mismatch {
    ($name:ident, $from:ty, $to:ty) => {
        #[derive(Debug)]
        struct $name($from);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(to)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let decoded = <$to>::deserialize(from)?;
                panic!("decoded, {} bytes", size_of_val(&decoded))
            }
        }
    };
}

mismatch!(Nested, (Vec<u8>, [u64; 3]), (Vec<u8>, Vec<Option<String>>));
mismatch!(Units, u64, Vec<()>);
mismatch!(ManyUnits, Vec<u64>, Vec<Vec<()>>);

#[background_task(tt = "mp")]
fn leaves_a_field_out(len: usize) -> Report {
    Report { data: vec![1; len], note: String::new(), bytes: FAR_TOO_LONG }
}

#[background_task(tt = "mp")]
fn nested(len: usize) -> Nested {
    Nested((vec![1; len], [2, 1, FAR_TOO_LONG]))
}

#[background_task(tt = "mp")]
fn units(count: u64) -> Units {
    Units(count)
}

#[background_task(tt = "mp")]
fn many_units(count: u64, times: usize) -> ManyUnits {
    ManyUnits(vec![count; times])
}

#[background_task(tt = "mp", codec = "msgpack")]
fn units_as_msgpack(count: u64) -> Units {
    Units(count)
}

#[background_task(tt = "mp")]
fn sends_units(ctx: &TaskContext<(), Units>, count: u64) {
    ctx.send(Units(count)).unwrap();
}

#[background_task(tt = "mp")]
fn sends_a_report(ctx: &TaskContext<(), Report>, len: usize) {
    ctx.send(Report { data: vec![1; len], note: String::new(), bytes: FAR_TOO_LONG }).unwrap();
}

#[background_task(tt = "mp")]
fn takes_a_report(report: Report) -> u64 {
    report.bytes
}

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[track_caller]
fn refused<R: std::fmt::Debug>(outcome: Result<R, TaskError>, text: &str) {
    match outcome {
        Err(TaskError::Codec { detail, .. }) => assert!(detail.contains(text), "{detail}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn result_with_field_left_out_is_codec_error() {
    let sup = pool();
    let _watchdog = Watchdog::new("a field left out", FAR);
    // Around the lengths at which a result travels in another way.
    for len in [10, 1000, 100_000, 2_000_000] {
        let task = leaves_a_field_out::builder(len).supervisor(&sup).start();
        refused(task.join(), "skip_serializing_if");
        let task = nested::builder(len).supervisor(&sup).start();
        refused(task.join(), "skip_serializing_if");
    }
    assert_eq!(double::builder(4).supervisor(&sup).start().join().unwrap(), 8);
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn argument_with_field_left_out_is_codec_error() {
    let sup = pool();
    let _watchdog = Watchdog::new("a field left out of an argument", FAR);
    let report = Report { data: vec![1; 2_000_000], note: String::new(), bytes: FAR_TOO_LONG };
    refused(takes_a_report::builder(report).supervisor(&sup).start().join(), "skip_serializing_if");
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn sequence_of_countless_empty_elements_is_codec_error() {
    let sup = pool();
    let _watchdog = Watchdog::new("countless units", FAR);
    for count in [1 << 30, 1 << 60, u64::MAX] {
        refused(units::builder(count).supervisor(&sup).start().join(), "longer than its input");
    }
    // Each is short, but not all of them together.
    let task = many_units::builder(1 << 19, 100_000).supervisor(&sup).start();
    refused(task.join(), "longer than its input");
    let task = units_as_msgpack::builder(1 << 60).supervisor(&sup).start();
    refused(task.join(), "");
    assert_eq!(double::builder(4).supervisor(&sup).start().join().unwrap(), 8);
}

#[test]
fn message_with_wrong_length_is_codec_error() {
    let sup = pool();
    let _watchdog = Watchdog::new("messages with wrong lengths", FAR);
    let task = sends_units::builder(1 << 60).supervisor(&sup).start();
    assert!(task.recv().is_err());
    let task = sends_a_report::builder(2_000_000).supervisor(&sup).start();
    assert!(task.recv().is_err());
    assert_eq!(double::builder(4).supervisor(&sup).start().join().unwrap(), 8);
}
