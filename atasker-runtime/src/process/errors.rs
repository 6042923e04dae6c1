//! Encoding and decoding of a task's error, which a worker process sends to its parent.

use crate::error::{CodecStage, TaskError};
use crate::wire::field::{FieldReader, Malformed, write_text};

const STAGES: [CodecStage; 6] = [
    CodecStage::EncodeArguments,
    CodecStage::DecodeArguments,
    CodecStage::EncodeResult,
    CodecStage::DecodeResult,
    CodecStage::EncodeMessage,
    CodecStage::DecodeMessage,
];

fn write_option(to: &mut Vec<u8>, text: Option<&str>) {
    to.push(u8::from(text.is_some()));
    if let Some(text) = text {
        write_text(to, text);
    }
}

fn read_option(fields: &mut FieldReader<'_>) -> Result<Option<String>, Malformed> {
    Ok(match fields.u8()? {
        0 => None,
        _ => Some(fields.text()?.to_owned()),
    })
}

pub(crate) fn encode(error: &TaskError) -> Vec<u8> {
    let mut to = Vec::new();
    match error {
        TaskError::Panicked { message, location, backtrace } => {
            to.push(0);
            write_text(&mut to, message);
            write_option(&mut to, location.as_deref());
            write_option(&mut to, backtrace.as_deref());
        }
        TaskError::Codec { stage, type_name, detail } => {
            to.push(1);
            to.push(STAGES.iter().position(|known| known == stage).unwrap_or(0) as u8);
            write_text(&mut to, type_name);
            write_text(&mut to, detail);
        }
        TaskError::NotStarted { detail } => {
            to.push(2);
            write_text(&mut to, detail);
        }
        other => {
            to.push(2);
            write_text(&mut to, &other.to_string());
        }
    }
    to
}

pub(crate) fn decode(bytes: &[u8]) -> Result<TaskError, Malformed> {
    let mut fields = FieldReader::new(bytes);
    let error = match fields.u8()? {
        0 => TaskError::Panicked {
            message: fields.text()?.to_owned(),
            location: read_option(&mut fields)?,
            backtrace: read_option(&mut fields)?,
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
pub(super) mod properties {
    use super::*;

    /// Any bytes decode to an error or fail, and encoding is the inverse of decoding.
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
    fn errors_round_trip() {
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
