//! The formats in which values travel. Nothing else knows of bincode or of MessagePack, so that
//! another format can take their place.
//!
//! Bytes come from another process, whose memory may be damaged: reading never allocates much more
//! than the input is long, and says what is wrong instead of panicking.

use bincode::config::{self, Config};
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::spare;

/// How values are written and read, one after the other. Chosen by the `codec` key.
pub trait Format: 'static {
    /// Appends a value.
    fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String>;

    /// Takes a value from the front of the input.
    fn read<T: DeserializeOwned>(input: &mut &[u8]) -> Result<T, String>;
}

/// `codec = "bincode"`: compact and fast, for types that say what they expect.
#[derive(Debug)]
pub enum Bincode {}

/// `codec = "msgpack"`: with the names of the fields, for types that ask the input what it holds.
#[derive(Debug)]
pub enum Msgpack {}

const ASK_MSGPACK: &str = "bincode can't carry this type (`#[serde(flatten)]`, untagged or tagged \
    enums, `skip_serializing_if`, `serde_json::Value`): say `codec = \"msgpack\"`";

/// What was written by the same program and still can't be read is most likely of a type that
/// writes other fields than it reads.
const MAYBE_MSGPACK: &str = "if the type leaves fields out (`skip_serializing_if`), bincode can't \
    carry it: say `codec = \"msgpack\"`";

impl Format for Bincode {
    fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        match bincode::serde::encode_into_std_write(value, out, config::standard()) {
            Ok(_) => Ok(()),
            Err(EncodeError::Serde(error)) => Err(format!("{error:?}: {ASK_MSGPACK}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read<T: DeserializeOwned>(input: &mut &[u8]) -> Result<T, String> {
        // bincode believes the length that stands before a string, and allocates it at once: a
        // limit keeps that near the length of the input. It counts a number by its size in memory,
        // at most 16 bytes for one of input, and it is a constant: so there are two, each with its
        // own copy of the decoder.
        const SHORT: usize = 1 << 20;
        if input.len() <= SHORT {
            read_bincode(input, config::standard().with_limit::<{ 32 * SHORT }>())
        } else {
            read_bincode(input, config::standard().with_limit::<{ 1 << 36 }>())
        }
    }
}

fn read_bincode<T: DeserializeOwned>(input: &mut &[u8], config: impl Config) -> Result<T, String> {
    match bincode::serde::borrow_decode_from_slice(input, config) {
        Ok((value, length)) => {
            *input = &input[length..];
            Ok(value)
        }
        Err(DecodeError::Serde(error)) => Err(format!("{error:?}: {ASK_MSGPACK}")),
        // The type itself objects to what it was given.
        Err(DecodeError::OtherString(detail)) => Err(detail),
        Err(error) => Err(format!("{error:?}: {MAYBE_MSGPACK}")),
    }
}

impl Format for Msgpack {
    fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        rmp_serde::encode::write_named(out, value).map_err(|error| error.to_string())
    }

    fn read<T: DeserializeOwned>(input: &mut &[u8]) -> Result<T, String> {
        // Over a reader, for only that leaves the rest of the input where it stands.
        T::deserialize(&mut rmp_serde::Deserializer::new(input)).map_err(|error| error.to_string())
    }
}

/// Appends bytes as they are, with their length before them: the same in every format.
pub(crate) fn write_block(block: &[u8], out: &mut Vec<u8>) {
    spare::reserve(out, 8 + block.len());
    out.extend_from_slice(&(block.len() as u64).to_le_bytes());
    out.extend_from_slice(block);
}

/// Takes such bytes from the front of the input, without a copy.
pub(crate) fn read_block<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let (length, rest) = input.split_first_chunk::<8>().ok_or("the input ends too early")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|e| e.to_string())?;
    let (block, rest) = rest.split_at_checked(length).ok_or("the input ends too early")?;
    *input = rest;
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct Inner {
        id: u128,
        tags: Vec<String>,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct Flat {
        name: String,
        #[serde(flatten)]
        rest: BTreeMap<String, u32>,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }

    fn round<F: Format, T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let mut bytes = vec![];
        F::write(&value, &mut bytes).unwrap();
        bytes.push(0xAB);
        let mut input = &bytes[..];
        assert_eq!(F::read::<T>(&mut input).unwrap(), value);
        assert_eq!(input, [0xAB], "the rest of the input is left");
    }

    #[test]
    fn values_come_back_and_the_rest_is_left() {
        let inner = Inner { id: u128::MAX, tags: vec!["a".into(), String::new()] };
        round::<Bincode, _>(inner.clone());
        round::<Msgpack, _>(inner);
        round::<Bincode, _>((1u8, -7i64, Some("x".to_owned()), Ok::<u8, String>(3)));
        round::<Msgpack, _>((1u8, -7i64, Some("x".to_owned()), Ok::<u8, String>(3)));
        round::<Bincode, _>(());
        round::<Msgpack, _>(());
    }

    #[test]
    fn msgpack_carries_what_bincode_names_it_for() {
        let flat = Flat { name: "n".into(), rest: BTreeMap::from([("a".into(), 1)]) };
        round::<Msgpack, _>(flat.clone());
        round::<Msgpack, _>(Either::Text("t".into()));
        round::<Msgpack, _>(serde_json::json!({ "a": [1, null, "x"] }));

        let error = Bincode::write(&flat, &mut vec![]).unwrap_err();
        assert!(error.contains("codec = \"msgpack\""), "{error}");
        let mut bytes = vec![];
        Bincode::write(&Either::Number(1), &mut bytes).unwrap();
        let error = Bincode::read::<Either>(&mut &bytes[..]).unwrap_err();
        assert!(error.contains("codec = \"msgpack\""), "{error}");
        let error = Bincode::read::<serde_json::Value>(&mut &bytes[..]).unwrap_err();
        assert!(error.contains("codec = \"msgpack\""), "{error}");
    }

    #[test]
    fn a_field_left_out_is_an_error_that_names_msgpack() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Sparse {
            #[serde(skip_serializing_if = "Option::is_none")]
            rare: Option<u32>,
            #[serde(default)]
            number: u32,
        }
        let mut bytes = vec![];
        Bincode::write(&Sparse { rare: None, number: 3 }, &mut bytes).unwrap();
        let error = Bincode::read::<Sparse>(&mut &bytes[..]).unwrap_err();
        assert!(error.contains("codec = \"msgpack\""), "{error}");
        round::<Msgpack, _>(Sparse { rare: None, number: 3 });
    }

    #[test]
    fn a_wrong_length_is_an_error_and_allocates_little() {
        // A string that claims to be 2^60 bytes long.
        let mut bytes = vec![253];
        bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(Bincode::read::<String>(&mut &bytes[..]).is_err());
        // The same in MessagePack: 2^32 - 1.
        assert!(Msgpack::read::<String>(&mut &[0xdb, 0xff, 0xff, 0xff, 0xff, b'x'][..]).is_err());
        let mut block = vec![];
        write_block(b"abc", &mut block);
        assert!(read_block(&mut &block[..10]).is_err());
        assert!(read_block(&mut &block[..7]).is_err());
        assert!(read_block(&mut &[0xff; 8][..]).is_err());
    }

    #[test]
    fn long_values_of_small_numbers_are_within_the_limits() {
        round::<Bincode, _>(vec![1u128; (1 << 20) - 100]);
        round::<Bincode, _>(vec![1u64; (1 << 20) + 100]);
        round::<Bincode, _>("x".repeat(3 << 20));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            type T = (String, Vec<Inner>, Option<char>, BTreeMap<u8, Result<bool, f32>>);
            let _ = Bincode::read::<T>(&mut &bytes[..]);
            let _ = Msgpack::read::<T>(&mut &bytes[..]);
            let _ = read_block(&mut &bytes[..]);
        }
    }
}
