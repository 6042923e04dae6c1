//! The last byte of the reply of a remote function: whether its result is an `Err`.
//!
//! A node decides whether a run is repeated, and it can't decode results, because it knows functions
//! only by their table entries. The shim of the function therefore says it. The byte stays on the
//! node: launchers receive the encoded result without it.

use crate::error::{CodecStage, TaskError};
use crate::wire::reply::Reply;

/// Appends the byte to a reply.
pub fn add_is_err(is_err: bool, reply: &mut Reply) {
    reply.rest_mut().push(u8::from(is_err));
}

/// Splits a reply into the encoded result and whether it is an `Err`.
pub(crate) fn split_is_err(mut reply: Vec<u8>) -> Result<(Vec<u8>, bool), TaskError> {
    match reply.pop() {
        Some(flag @ (0 | 1)) => Ok((reply, flag == 1)),
        last => Err(TaskError::Codec {
            stage: CodecStage::DecodeResult,
            type_name: "bool".to_owned(),
            detail: match last {
                Some(byte) => format!("the reply of a remote function ends with the byte {byte}"),
                None => "the reply of a remote function is empty".to_owned(),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_is_behind_the_result() {
        for is_err in [false, true] {
            // In one block, appended, and both.
            for (block, rest) in [(&b"abc"[..], &b""[..]), (b"", b"abc"), (b"a", b"bc")] {
                let mut reply = Reply::default();
                reply.set_block(block.to_vec());
                reply.rest_mut().extend_from_slice(rest);
                add_is_err(is_err, &mut reply);
                let split = split_is_err(reply.into_bytes());
                assert_eq!(split, Ok((b"abc".to_vec(), is_err)));
            }
        }
    }

    #[test]
    fn malformed_replies_are_errors() {
        let detail = |reply: &[u8]| split_is_err(reply.to_vec()).unwrap_err().to_string();
        assert!(detail(b"").contains("is empty"));
        assert!(detail(b"ab\x02").contains("the byte 2"));
    }
}
