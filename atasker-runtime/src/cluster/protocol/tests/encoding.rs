//! Records, entries and frames as bytes.

use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;

use crate::cluster::broker::Kept;
use crate::cluster::door::{CallHead, FunctionKey, NodeRef, RetryPause, UniqueKey};
use crate::cluster::error::ClusterError;
use crate::cluster::protocol::bytes::Unreadable;
use crate::cluster::protocol::control::{Frame, Item, Reply, Stream, Verb};
use crate::cluster::protocol::record::{
    CallEntry, CallRecord, CallState, Dead, Holder, Outcome, Payload, encode_record, id_of_key,
    record_key,
};
use crate::error::{CodecStage, DeathCause, TaskError, WorkerDeath};
use crate::id::TaskId;
use crate::priority::Priority;

fn ids() -> impl Strategy<Value = TaskId> {
    any::<(u64, u64)>().prop_map(|(origin, number)| TaskId::from_parts(origin, number))
}

fn durations() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn nodes() -> impl Strategy<Value = NodeRef> {
    any::<(String, String)>().prop_map(|(id, name)| NodeRef { id: id.into(), name: name.into() })
}

fn payloads() -> impl Strategy<Value = Payload> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(Payload::Inline),
        any::<(bool, String, u32, u64)>().prop_map(|(is_dead, key, count, bytes)| {
            let kept = if is_dead { Kept::AsLogs } else { Kept::AsRecords };
            Payload::Blocks { kept, key, count, bytes }
        }),
    ]
}

prop_compose! {
    fn heads()(
        id in ids(),
        texts in any::<(String, String, String, String)>(),
        signature in any::<u64>(),
        priority in 0..4u8,
        times in (prop::option::of(durations()), prop::option::of(durations()), durations(), durations()),
        counts in any::<(u32, u32)>(),
        flags in any::<(bool, bool, bool)>(),
        hash in prop::option::of(any::<[u8; 16]>()),
        trace in any::<Option<String>>(),
        factor in any::<u64>(),
    ) -> CallHead {
        let (name, function, queue, types) = texts;
        let (timeout, expires, first, max) = times;
        CallHead {
            id,
            name,
            function: FunctionKey { name: function, signature },
            queue,
            priority: Priority::from_index(priority).unwrap(),
            timeout,
            retries: counts.0,
            retry: match flags.0 {
                true => RetryPause::Fixed(first),
                false => RetryPause::Backoff { first, max, factor, jitter: flags.1 },
            },
            redeliver: counts.1,
            expires,
            unique: hash.map(|hash| UniqueKey { hash, keep: max }),
            types,
            has_channels: flags.2,
            trace,
        }
    }
}

/// All errors that a call can end with.
fn errors() -> impl Strategy<Value = TaskError> {
    let stages = prop::sample::select(vec![
        CodecStage::EncodeArguments,
        CodecStage::DecodeArguments,
        CodecStage::EncodeResult,
        CodecStage::DecodeResult,
        CodecStage::EncodeMessage,
        CodecStage::DecodeMessage,
    ]);
    let causes = prop_oneof![
        any::<i32>().prop_map(DeathCause::Exit),
        any::<i32>().prop_map(DeathCause::Signal),
        any::<i32>().prop_map(DeathCause::StackOverflow),
        any::<i32>().prop_map(DeathCause::MemoryLimit),
        any::<String>().prop_map(|text| DeathCause::Other(text.into())),
    ];
    let clusters = prop_oneof![
        Just(ClusterError::NotJoined),
        any::<String>().prop_map(|detail| ClusterError::Unreachable { detail }),
        any::<String>().prop_map(|detail| ClusterError::Denied { detail }),
        any::<String>().prop_map(|detail| ClusterError::Unavailable { detail }),
        any::<(u64, u64)>().prop_map(|(bytes, limit)| ClusterError::TooLarge { bytes, limit }),
        any::<String>().prop_map(|detail| ClusterError::NotFound { detail }),
        any::<(String, String)>()
            .prop_map(|(here, there)| ClusterError::OtherFunction { here, there }),
        any::<String>().prop_map(|detail| ClusterError::Incompatible { detail }),
        any::<String>().prop_map(|detail| ClusterError::Invalid { detail }),
        Just(ClusterError::Closed),
        ids().prop_map(|id| ClusterError::Duplicate { id }),
    ];
    prop_oneof![
        any::<(String, Option<String>, Option<String>)>().prop_map(
            |(message, location, backtrace)| TaskError::Panicked { message, location, backtrace }
        ),
        Just(TaskError::Canceled),
        durations().prop_map(|limit| TaskError::TimedOut { limit }),
        (any::<u32>(), causes)
            .prop_map(|(pid, cause)| TaskError::WorkerDied(WorkerDeath::new(pid, cause))),
        (stages, any::<(String, String)>()).prop_map(|(stage, (type_name, detail))| {
            TaskError::Codec { stage, type_name, detail }
        }),
        Just(TaskError::SupervisorStopped),
        Just(TaskError::QueueFull),
        (durations(), any::<String>())
            .prop_map(|(after, detail)| TaskError::Expired { after, detail }),
        ids().prop_map(|id| TaskError::Duplicate { id }),
        any::<(String, u32)>().prop_map(|(node, losses)| TaskError::NodeLost { node, losses }),
        clusters.prop_map(TaskError::Cluster),
        any::<String>().prop_map(|detail| TaskError::NotStarted { detail }),
    ]
}

fn states() -> impl Strategy<Value = CallState> {
    let outcomes = prop_oneof![
        (payloads(), any::<bool>())
            .prop_map(|(result, is_err)| Outcome::Returned { result, is_err }),
        errors().prop_map(Outcome::Failed),
    ];
    prop_oneof![
        (nodes(), any::<(u64, u32, u32)>()).prop_map(|(node, (claim, attempt, losses))| {
            CallState::Running { node, claim, attempt, losses }
        }),
        (durations(), any::<(u32, u32)>()).prop_map(|(delay, (attempt, losses))| {
            CallState::Waiting { delay, attempt, losses }
        }),
        (outcomes, any::<(u32, u32)>(), prop::option::of(nodes())).prop_map(
            |(outcome, (attempt, losses), node)| CallState::Ended {
                outcome,
                attempt,
                losses,
                node
            }
        ),
    ]
}

fn frames() -> impl Strategy<Value = Frame> {
    let streams = || {
        (ids(), any::<(u64, String, u32)>()).prop_map(|(id, (claim, member, epoch))| Stream {
            id,
            claim,
            member: member.into(),
            epoch,
        })
    };
    let verbs = prop::sample::select(vec![Verb::Cancel, Verb::Stop, Verb::Kill]);
    let items = prop_oneof![
        any::<Vec<u8>>().prop_map(|message| Item::Message(message.into())),
        any::<u32>().prop_map(Item::Taken),
        any::<bool>().prop_map(Item::HasReceiver),
        any::<u32>().prop_map(Item::Process),
        any::<(u64, u64)>().prop_map(|(done, total)| Item::Progress { done, total }),
        any::<String>().prop_map(Item::Text),
    ];
    prop_oneof![
        (ids(), any::<u64>(), verbs).prop_map(|(id, claim, verb)| Frame::Do { id, claim, verb }),
        (ids(), any::<(u64, Option<String>)>()).prop_map(|(id, (claim, token))| Frame::Holds {
            id,
            claim,
            token
        }),
        (ids(), any::<(u64, String)>()).prop_map(|(id, (claim, member))| Frame::Attach {
            id,
            claim,
            member: member.into()
        }),
        (any::<String>(), streams(), any::<u64>(), prop::collection::vec(items, 0..5)).prop_map(
            |(from, stream, first, items)| Frame::Items { from: from.into(), stream, first, items }
        ),
        (streams(), any::<u64>()).prop_map(|(stream, next)| Frame::Ack { stream, next }),
        streams().prop_map(|stream| Frame::Detached { stream }),
        Just(Frame::Ping),
    ]
}

/// Encoding and decoding are inverse, and every prefix and every change of a byte is an error or
/// another value.
fn round_trip<T: Debug + PartialEq>(
    value: &T,
    bytes: Vec<u8>,
    decode: fn(&[u8]) -> Result<T, Unreadable>,
    flip: prop::sample::Index,
) {
    assert_eq!(decode(&bytes).as_ref(), Ok(value));
    for length in [0, bytes.len() / 2, bytes.len() - 1] {
        assert!(decode(&bytes[..length]).is_err());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(decode(&longer).is_err());
    let mut changed = bytes;
    let at = flip.index(changed.len());
    changed[at] = changed[at].wrapping_add(1);
    _ = decode(&changed);
    changed[0] = 200;
    assert_eq!(decode(&changed), Err(Unreadable::Newer(200)));
}

proptest! {
    #[test]
    fn entries(head in heads(), launcher: String, args in payloads(), flip: prop::sample::Index) {
        let entry = CallEntry { head: head.into(), launcher: launcher.into(), args };
        round_trip(&entry, entry.encode(), CallEntry::decode, flip);
    }

    #[test]
    fn records(head in heads(), state in states(), flip: prop::sample::Index) {
        let record = CallRecord { head, state };
        let bytes = encode_record(&record.head, &record.state);
        round_trip(&record, bytes.clone(), CallRecord::decode, flip);
        round_trip(&record.state, bytes, CallState::decode, flip);
    }

    #[test]
    fn dead_letters(
        head in heads(),
        launcher: String,
        args in payloads(),
        error in prop::option::of(errors()),
        flip: prop::sample::Index,
    ) {
        let dead = Dead { entry: CallEntry { head: head.into(), launcher: launcher.into(), args }, error };
        round_trip(&dead, dead.encode(), Dead::decode, flip);
    }

    #[test]
    fn holders(id in ids(), launcher: String, keep in durations(), flip: prop::sample::Index) {
        let holder = Holder { id, launcher, keep };
        round_trip(&holder, holder.encode(), Holder::decode, flip);
    }

    #[test]
    fn frames_and_replies(frame in frames(), flip: prop::sample::Index) {
        round_trip(&frame, frame.encode(), Frame::decode, flip);
        for reply in
            [Reply::Yes, Reply::NotHeld, Reply::Canceled, Reply::Asked, Reply::Unsupported]
        {
            round_trip(&reply, reply.encode(), Reply::decode, flip);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>, version in 0..3u8, kind in 0..9u8) {
        bytes.splice(..0, [version, kind]);
        _ = CallEntry::decode(&bytes);
        _ = CallRecord::decode(&bytes);
        _ = CallState::decode(&bytes);
        _ = Dead::decode(&bytes);
        _ = Holder::decode(&bytes);
        _ = Frame::decode(&bytes);
        _ = Reply::decode(&bytes);
    }

    #[test]
    fn keys_name_their_call(id in ids()) {
        prop_assert_eq!(id_of_key(&record_key(id)), Some(id));
    }
}
