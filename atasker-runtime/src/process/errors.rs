//! A task's error on its way out of a worker process: to bytes and back.

use crate::error::{CodecStage, TaskError};
use crate::wire::frame::{Malformed, Reader, put_text};

const STAGES: [CodecStage; 6] = [
    CodecStage::EncodeArguments,
    CodecStage::DecodeArguments,
    CodecStage::EncodeResult,
    CodecStage::DecodeResult,
    CodecStage::EncodeMessage,
    CodecStage::DecodeMessage,
];

fn put_option(to: &mut Vec<u8>, text: Option<&str>) {
    to.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(to, text);
    }
}

fn option(fields: &mut Reader<'_>) -> Result<Option<String>, Malformed> {
    Ok(match fields.u8()? {
        0 => None,
        _ => Some(fields.text()?.to_owned()),
    })
}

pub(super) fn encode(error: &TaskError) -> Vec<u8> {
    let mut to = Vec::new();
    match error {
        TaskError::Panicked { message, location, backtrace } => {
            to.push(0);
            put_text(&mut to, message);
            put_option(&mut to, location.as_deref());
            put_option(&mut to, backtrace.as_deref());
        }
        TaskError::Codec { stage, type_name, detail } => {
            to.push(1);
            to.push(STAGES.iter().position(|known| known == stage).unwrap_or(0) as u8);
            put_text(&mut to, type_name);
            put_text(&mut to, detail);
        }
        TaskError::NotStarted { detail } => {
            to.push(2);
            put_text(&mut to, detail);
        }
        other => {
            to.push(2);
            put_text(&mut to, &other.to_string());
        }
    }
    to
}

pub(super) fn decode(bytes: &[u8]) -> Result<TaskError, Malformed> {
    let mut fields = Reader::new(bytes);
    let error = match fields.u8()? {
        0 => TaskError::Panicked {
            message: fields.text()?.to_owned(),
            location: option(&mut fields)?,
            backtrace: option(&mut fields)?,
        },
        1 => TaskError::Codec {
            stage: *STAGES.get(usize::from(fields.u8()?)).ok_or(Malformed("an unknown stage"))?,
            type_name: fields.text()?.to_owned(),
            detail: fields.text()?.to_owned(),
        },
        2 => TaskError::not_started(fields.text()?),
        _ => return Err(Malformed("an unknown error")),
    };
    fields.end()?;
    Ok(error)
}

#[cfg(fuzzing)]
pub(super) mod fuzzed {
    use super::*;

    /// Any bytes are an error or none; what can be read can be written, and read again.
    pub(crate) fn error(bytes: &[u8]) {
        if let Ok(error) = decode(bytes) {
            let again = decode(&encode(&error)).expect("it was written by us");
            assert_eq!(format!("{error:?}"), format!("{again:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let panicked = TaskError::Panicked {
            message: "no".into(),
            location: Some("a.rs:1:2".into()),
            backtrace: None,
        };
        let codec = TaskError::Codec {
            stage: CodecStage::EncodeResult,
            type_name: "T".into(),
            detail: "d".into(),
        };
        for error in [panicked, codec, TaskError::not_started("x")] {
            let back = decode(&encode(&error)).unwrap();
            assert_eq!(format!("{error:?}"), format!("{back:?}"));
        }
        assert!(decode(&[9]).is_err());
    }
}
