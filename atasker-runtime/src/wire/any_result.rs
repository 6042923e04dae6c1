//! Results of remote functions of which only the types are known: `Cluster::task`.
//!
//! The shim of a function writes results that are blocks of bytes without a format, and the macro
//! knows that from the types. Here, a type parameter is all that is known, so the types are
//! recognized at run time.

use std::any::{Any, TypeId, type_name};
use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::error::{CodecStage, TaskError};
use crate::wire::args::{failed, read_result};
use crate::wire::codec::Msgpack;

/// How the names of the types begin that are written as a block of bytes, or an error, and a tag.
const BLOCK_OR_ERROR: &str = "core::result::Result<alloc::vec::Vec<u8>, ";

/// Decodes a result that was written as MessagePack, or as a block of bytes if its type is one.
pub(crate) fn read_any_result<R>(bytes: Cow<'_, [u8]>) -> Result<R, TaskError>
where
    R: DeserializeOwned + Send + 'static,
{
    if TypeId::of::<R>() == TypeId::of::<Vec<u8>>() {
        let mut block = Some(bytes.into_owned());
        let block: &mut dyn Any = &mut block;
        if let Some(result) = block.downcast_mut::<Option<R>>().and_then(Option::take) {
            return Ok(result);
        }
        unreachable!("the types are the same");
    }
    match type_name::<R>().starts_with(BLOCK_OR_ERROR) {
        false => read_result::<Msgpack, R>(bytes),
        true => read_result::<Msgpack, R>(as_msgpack::<R>(&bytes)?.into()),
    }
}

/// Converts a block or an error, and its tag, to the encoding that the type would have otherwise.
fn as_msgpack<R>(bytes: &[u8]) -> Result<Vec<u8>, TaskError> {
    /// A map with one entry.
    const MAP_OF_ONE: u8 = 0x81;
    /// A text, whose length is to be added.
    const SHORT_TEXT: u8 = 0xa0;
    const ARRAY_32: u8 = 0xdd;
    const U8: u8 = 0xcc;
    let invalid = |detail: &str| failed::<R>(CodecStage::DecodeResult, detail.to_owned());
    let mut encoded = vec![MAP_OF_ONE];
    let add_name = |encoded: &mut Vec<u8>, name: &str| {
        encoded.push(SHORT_TEXT | name.len() as u8);
        encoded.extend_from_slice(name.as_bytes());
    };
    match bytes.split_last() {
        Some((1, block)) => {
            let len = u32::try_from(block.len()).map_err(|_| invalid("the block is too long"))?;
            encoded.reserve(block.len() * 3 / 2 + 16);
            add_name(&mut encoded, "Ok");
            encoded.push(ARRAY_32);
            encoded.extend_from_slice(&len.to_be_bytes());
            for byte in block {
                if *byte >= 0x80 {
                    encoded.push(U8);
                }
                encoded.push(*byte);
            }
        }
        Some((0, error)) => {
            add_name(&mut encoded, "Err");
            encoded.extend_from_slice(error);
        }
        _ => return Err(invalid("the input is neither `Ok` nor `Err`")),
    }
    Ok(encoded)
}

#[cfg(test)]
#[allow(clippy::needless_borrow, reason = "method lookup counts the references")]
mod tests {
    use super::*;
    use crate::params::Arg;
    use crate::wire::args::{ResultBlock as _, ResultOwned as _};
    use crate::wire::reply::Reply;

    macro_rules! assert_round_trip {
        ($ty:ty, $value:expr) => {{
            let value: $ty = $value;
            let mut reply = Reply::default();
            // As a shim writes it.
            (&&&Arg::<$ty>::new())
                .__atasker_write_result::<Msgpack>(value.clone(), &mut reply)
                .unwrap();
            let bytes = reply.into_bytes();
            assert_eq!(read_any_result::<$ty>((&bytes).into()).unwrap(), value);
        }};
    }

    #[test]
    fn results_are_read_as_shims_write_them() {
        type Block = Vec<u8>;
        assert_round_trip!(u64, 42);
        assert_round_trip!(Option<String>, Some("text".to_owned()));
        assert_round_trip!(Result<u8, String>, Err("no".to_owned()));
        assert_round_trip!(Block, vec![0, 127, 128, 255]);
        assert_round_trip!(Result<Block, String>, Ok((0..=255).collect()));
        assert_round_trip!(Result<Block, String>, Ok(vec![]));
        assert_round_trip!(Result<Block, String>, Err("no".to_owned()));
        assert_round_trip!(Result<Block, Vec<u8>>, Err(vec![1, 200]));
    }

    #[test]
    fn malformed_blocks_are_errors() {
        for bytes in [&[][..], &[2], &[0]] {
            let error = read_any_result::<Result<Vec<u8>, String>>(bytes.into()).unwrap_err();
            assert!(error.to_string().contains("decode the result"), "{error}");
        }
    }
}
