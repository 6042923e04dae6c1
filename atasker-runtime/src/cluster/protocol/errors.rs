//! The errors of outcomes as bytes.
//!
//! An error of a kind that this version does not know, which a newer node has written, is read as
//! `NotStarted` with its text. So each kind is followed by its text and by its length.

use super::bytes::{Reader, Unreadable, Writer};
use crate::cluster::error::ClusterError;
use crate::error::{CodecStage, DeathCause, TaskError, WorkerDeath};

const STAGES: [CodecStage; 6] = [
    CodecStage::EncodeArguments,
    CodecStage::DecodeArguments,
    CodecStage::EncodeResult,
    CodecStage::DecodeResult,
    CodecStage::EncodeMessage,
    CodecStage::DecodeMessage,
];

/// Appends an error: its kind, its fields, and its text if it has no kind here.
pub(super) fn write(to: &mut Writer, error: &TaskError) {
    let mut fields = Writer::default();
    let kind = write_fields(&mut fields, error);
    to.u8(kind).text(&error.to_string()).bytes(&fields.into_bytes());
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<TaskError, Unreadable> {
    let kind = from.u8()?;
    let text = from.text()?;
    let fields = from.bytes()?;
    let unknown = || TaskError::not_started(text);
    // The fields of a known kind may have been changed by a newer version.
    Ok(read_fields(kind, fields).unwrap_or_else(|_| unknown()))
}

fn write_fields(to: &mut Writer, error: &TaskError) -> u8 {
    match error {
        TaskError::Panicked { message, location, backtrace } => {
            to.text(message).optional_text(location.as_deref());
            to.optional_text(backtrace.as_deref());
            1
        }
        TaskError::Canceled => 2,
        TaskError::TimedOut { limit } => {
            to.duration(*limit);
            3
        }
        TaskError::WorkerDied(death) => {
            to.int(death.pid());
            match death.cause() {
                DeathCause::Exit(code) => to.u8(0).int(*code as u32),
                DeathCause::Signal(signal) => to.u8(1).int(*signal as u32),
                DeathCause::StackOverflow(signal) => to.u8(2).int(*signal as u32),
                DeathCause::MemoryLimit(signal) => to.u8(3).int(*signal as u32),
                DeathCause::Other(words) => to.u8(4).text(words),
            };
            4
        }
        TaskError::Codec { stage, type_name, detail } => {
            let stage = STAGES.iter().position(|known| known == stage).unwrap_or(0);
            to.len(stage).text(type_name).text(detail);
            5
        }
        TaskError::SupervisorStopped => 6,
        TaskError::QueueFull => 7,
        TaskError::Expired { after, detail } => {
            to.duration(*after).text(detail);
            8
        }
        TaskError::Duplicate { id } => {
            to.id(*id);
            9
        }
        TaskError::NodeLost { node, losses } => {
            to.text(node).int(*losses);
            10
        }
        TaskError::Cluster(error) => {
            write_cluster(to, error);
            11
        }
        TaskError::NotStarted { detail } => {
            to.text(detail);
            12
        }
    }
}

fn read_fields(kind: u8, fields: &[u8]) -> Result<TaskError, Unreadable> {
    let mut from = Reader::new(fields);
    let error = match kind {
        1 => TaskError::Panicked {
            message: from.text()?,
            location: from.option(Reader::text)?,
            backtrace: from.option(Reader::text)?,
        },
        2 => TaskError::Canceled,
        3 => TaskError::TimedOut { limit: from.duration()? },
        4 => {
            let pid = from.u32()?;
            let cause = match from.u8()? {
                0 => DeathCause::Exit(from.i32()?),
                1 => DeathCause::Signal(from.i32()?),
                2 => DeathCause::StackOverflow(from.i32()?),
                3 => DeathCause::MemoryLimit(from.i32()?),
                4 => DeathCause::Other(from.text()?.into()),
                _ => return Err(Unreadable::Malformed("an unknown cause of death")),
            };
            TaskError::WorkerDied(WorkerDeath::new(pid, cause))
        }
        5 => {
            let stage = STAGES.get(from.u32()? as usize).copied();
            let stage = stage.ok_or(Unreadable::Malformed("an unknown stage"))?;
            TaskError::Codec { stage, type_name: from.text()?, detail: from.text()? }
        }
        6 => TaskError::SupervisorStopped,
        7 => TaskError::QueueFull,
        8 => TaskError::Expired { after: from.duration()?, detail: from.text()? },
        9 => TaskError::Duplicate { id: from.id()? },
        10 => TaskError::NodeLost { node: from.text()?, losses: from.u32()? },
        11 => TaskError::Cluster(read_cluster(&mut from)?),
        12 => TaskError::NotStarted { detail: from.text()? },
        _ => return Err(Unreadable::Malformed("an unknown error")),
    };
    from.end()?;
    Ok(error)
}

fn write_cluster(to: &mut Writer, error: &ClusterError) {
    match error {
        ClusterError::NotJoined => to.u8(0),
        ClusterError::Unreachable { detail } => to.u8(1).text(detail),
        ClusterError::Denied { detail } => to.u8(2).text(detail),
        ClusterError::Unavailable { detail } => to.u8(3).text(detail),
        // Only for those who connect: it is the outcome of no call.
        ClusterError::Mismatch { .. } => to.u8(4).text(&error.to_string()),
        ClusterError::TooLarge { bytes, limit } => to.u8(5).int(*bytes).int(*limit),
        ClusterError::NotFound { detail } => to.u8(6).text(detail),
        ClusterError::OtherFunction { here, there } => to.u8(7).text(here).text(there),
        ClusterError::Incompatible { detail } => to.u8(8).text(detail),
        ClusterError::Invalid { detail } => to.u8(9).text(detail),
        ClusterError::Closed => to.u8(10),
        ClusterError::Duplicate { id } => to.u8(11).id(*id),
    };
}

fn read_cluster(from: &mut Reader<'_>) -> Result<ClusterError, Unreadable> {
    Ok(match from.u8()? {
        0 => ClusterError::NotJoined,
        1 => ClusterError::Unreachable { detail: from.text()? },
        2 => ClusterError::Denied { detail: from.text()? },
        3 => ClusterError::Unavailable { detail: from.text()? },
        4 => ClusterError::Invalid { detail: from.text()? },
        5 => ClusterError::TooLarge { bytes: from.u64()?, limit: from.u64()? },
        6 => ClusterError::NotFound { detail: from.text()? },
        7 => ClusterError::OtherFunction { here: from.text()?, there: from.text()? },
        8 => ClusterError::Incompatible { detail: from.text()? },
        9 => ClusterError::Invalid { detail: from.text()? },
        10 => ClusterError::Closed,
        11 => ClusterError::Duplicate { id: from.id()? },
        _ => return Err(Unreadable::Malformed("an unknown error of a cluster")),
    })
}
