//! Does a task for worker processes behave under `testing::inline` as it would in one?

use std::sync::atomic::{AtomicU32, Ordering};

use atasker::{
    CodecStage, KillError, Outcome, RecvError, TaskContext, TaskError, TaskType, background_task,
    current, supervisor, testing,
};
use serde::{Deserialize, Deserializer, Serialize};

/// Counts how often it was decoded.
#[derive(Serialize, Debug, PartialEq)]
struct Traveler(u32);

static DECODED: AtomicU32 = AtomicU32::new(0);

impl<'de> Deserialize<'de> for Traveler {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        u32::deserialize(deserializer).map(Traveler)
    }
}

#[background_task(tt = "mp")]
fn travels(ctx: &TaskContext<Traveler, Traveler>, by: &Traveler) -> Traveler {
    assert_eq!(ctx.tt(), TaskType::Mp);
    assert_eq!(ctx.recv().unwrap_err(), RecvError::Closed);
    ctx.progress(1, 2);
    ctx.message("sending");
    ctx.send(Traveler(by.0 + 1)).unwrap();
    Traveler(by.0 + 2)
}

#[test]
fn arguments_messages_and_result_are_encoded_and_decoded() {
    let _guard = testing::inline();
    let task = travels(&Traveler(40));
    // The argument and the result.
    assert_eq!(DECODED.load(Ordering::Relaxed), 2);
    assert_eq!(task.tt(), TaskType::Mp);
    let progress = task.progress().unwrap();
    assert_eq!((progress.done, progress.message.as_deref()), (1, Some("sending")));
    assert_eq!(task.recv(), Ok(Traveler(41)));
    assert_eq!(DECODED.load(Ordering::Relaxed), 3);
    assert_eq!(task.recv(), Err(RecvError::Closed));
    assert_eq!(task.join().unwrap(), Traveler(42));
}

/// Can't be encoded, or can't be decoded.
#[derive(Debug)]
struct Broken(bool);

impl Serialize for Broken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            true => Err(serde::ser::Error::custom("not encoded")),
            false => serializer.serialize_u8(0),
        }
    }
}

impl<'de> Deserialize<'de> for Broken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("not decoded"))
    }
}

#[background_task(tt = "mp")]
fn takes_broken(_broken: Broken) {}

#[background_task(tt = "mp")]
fn gives_broken(unencodable: bool) -> Broken {
    Broken(unencodable)
}

#[test]
fn codec_errors_are_those_of_a_process() {
    let same = |inline: Result<(), TaskError>, process: Result<(), TaskError>| {
        let (inline, process) = (inline.unwrap_err(), process.unwrap_err());
        assert!(matches!(inline, TaskError::Codec { .. }), "{inline:?}");
        assert_eq!(inline, process);
    };
    let run = || {
        [
            takes_broken(Broken(true)).join(),
            takes_broken(Broken(false)).join(),
            gives_broken(true).join().map(drop),
            gives_broken(false).join().map(drop),
        ]
    };
    let processes = run();
    let _guard = testing::inline();
    run().into_iter().zip(processes).for_each(|(inline, process)| same(inline, process));
    let error = takes_broken(Broken(false)).join().unwrap_err();
    assert!(
        matches!(error, TaskError::Codec { stage: CodecStage::DecodeArguments, .. }),
        "{error:?}"
    );
}

#[background_task(tt = "mp")]
fn launches(depth: u32) -> u32 {
    assert_eq!(atasker::current().unwrap().name(), "testing::inline_mp::launches");
    if depth == 0 { 0 } else { launches(depth - 1).join().unwrap() + 1 }
}

#[test]
fn nested_calls_run_inline() {
    let _guard = testing::inline();
    assert_eq!(launches(20).join().unwrap(), 20);
}

#[background_task(tt = "mp")]
fn kills_itself() -> bool {
    let task = supervisor().task(current().unwrap().id()).unwrap();
    let refused = task.kill() == Err(KillError::Unsupported);
    task.stop();
    refused && current().unwrap().stopped()
}

#[test]
fn kill_is_unsupported() {
    let _guard = testing::inline();
    assert_eq!(kills_itself().join(), Ok(true));
}

#[background_task(tt = "mp")]
fn floods(ctx: &TaskContext<(), String>, size: usize) -> usize {
    (0..).take_while(|_| ctx.send(" ".repeat(size)).is_ok()).count()
}

#[test]
fn full_channel_is_an_error_by_messages_and_by_bytes() {
    let _guard = testing::inline();
    assert_eq!(floods(1).join().unwrap(), 1024);
    let task = floods(16 << 20);
    assert_eq!(task.result(), Some(&4));
    assert_eq!(task.messages().count(), 4);
}

#[background_task(tt = "mp", codec = "msgpack")]
fn fails(text: &str) -> Result<u8, String> {
    Err(text.to_owned())
}

#[test]
fn returned_err_is_a_result() {
    let _guard = testing::inline();
    let task = fails("no");
    assert_eq!(task.info().outcome, Some(Outcome::ReturnedErr));
    assert_eq!(task.join().unwrap(), Err("no".into()));
}
