//! The formats in which values are encoded. No other module knows bincode or MessagePack, so that
//! another format can replace them.
//!
//! The bytes come from another process, whose memory may be corrupted. Decoding therefore never
//! allocates much more than the length of the input, and returns an error instead of panicking.
//!
//! A decoder recurses into nested values. The caller bounds the depth by the stack that it allows,
//! because a value from a worker process must not overflow a stack of this process. With bincode,
//! each nested value compares a stack address: see `bounded`. MessagePack is measured before it is
//! decoded: see `msgpack`. There every element takes at least one byte.
//!
//! bincode is pinned to `=2.0.1`: 3.0.0 is an empty tombstone that does not compile, and the crate
//! is no longer maintained (RUSTSEC-2025-0141). The advisory reports no defect. The encoding is read
//! and written only by copies of one program, so a release can replace the crate without a change
//! for users: here, in [`Bincode`], and in `bounded`, which bounds what its decoder may use. That
//! is the plan if a defect is found, or when the compiler no longer accepts the crate. `deny.toml`
//! accepts the notice until then.

use std::marker::PhantomData;

use bincode::config;
use bincode::error::{DecodeError, EncodeError};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::wire::bounded::{self, Bounded, Budget};
use crate::wire::{buffer_pool, msgpack};

/// How values are encoded and decoded, one after the other. Selected by the `codec` key.
pub trait Format: 'static {
    /// The most stack, in bytes, that decoding may use. A deeper value is rejected.
    const MAX_STACK: usize;

    /// Appends an encoded value.
    fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String>;
    /// Decodes a value from the front of the input, with at most `stack` bytes of stack.
    fn read<T: DeserializeOwned>(input: &mut &[u8], stack: usize) -> Result<T, ReadError>;
}

/// Why a value could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The value is nested too deeply for the allowed stack.
    TooDeep,
    /// Any other error, as text.
    Invalid(String),
}

impl From<&str> for ReadError {
    fn from(words: &str) -> Self {
        ReadError::Invalid(words.to_owned())
    }
}

/// `codec = "bincode"`: compact and fast, for types that know the layout of their input.
#[derive(Debug)]
pub enum Bincode {}

/// `codec = "msgpack"`: includes field names, for types that ask the input what it contains.
#[derive(Debug)]
pub enum Msgpack {}

const ASK_MSGPACK: &str = "bincode can't carry this type (`#[serde(flatten)]`, untagged or tagged \
    enums, `skip_serializing_if`, `serde_json::Value`): use `codec = \"msgpack\"`";

/// Bytes that the same program encoded and still can't decode are most likely of a type that
/// serializes other fields than it deserializes.
const MAYBE_MSGPACK: &str = "if the type leaves fields out (`skip_serializing_if`), bincode can't \
    carry it: use `codec = \"msgpack\"`";

/// The most stack, in bytes, that decoding a bincode value may use. Dropping, comparing or printing
/// a value needs less, so a decoded value can be used on a thread with the usual 2 MiB. Without
/// optimization, a level takes several times as much to decode, because nothing is inlined.
const BINCODE_MAX_STACK: usize = if cfg!(debug_assertions) { 3 << 19 } else { 1 << 20 };

/// Stack bytes for each level of a MessagePack value, and in addition to the levels.
const STACK_PER_LEVEL: usize = 16 << 10;
const STACK_BASE: usize = 64 << 10;

impl Format for Bincode {
    const MAX_STACK: usize = BINCODE_MAX_STACK;

    fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        match bincode::serde::encode_into_std_write(value, out, config::standard()) {
            Ok(_) => Ok(()),
            Err(EncodeError::Serde(error)) => Err(format!("{error:?}: {ASK_MSGPACK}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read<T: DeserializeOwned>(input: &mut &[u8], stack: usize) -> Result<T, ReadError> {
        let budget = Budget::new(input.len(), stack);
        let seed = Bounded::new(PhantomData::<T>, &budget);
        let decoded = bincode::serde::seed_decode_from_slice(seed, input, config::standard());
        // Checked first, because the type may have replaced or swallowed the error.
        if budget.too_deep_seen() {
            return Err(ReadError::TooDeep);
        }
        let detail = match decoded {
            Ok((value, len)) => {
                *input = &input[len..];
                return Ok(value);
            }
            Err(DecodeError::Serde(error)) => format!("{error:?}: {ASK_MSGPACK}"),
            // The type itself rejected its input.
            Err(DecodeError::OtherString(detail)) => match budget.too_long() {
                Some(elements) => format!("{}: {MAYBE_MSGPACK}", bounded::too_long(elements)),
                None => detail,
            },
            Err(error) => format!("{error:?}: {MAYBE_MSGPACK}"),
        };
        Err(ReadError::Invalid(detail))
    }
}

impl Format for Msgpack {
    const MAX_STACK: usize = msgpack::MAX_DEPTH * STACK_PER_LEVEL + STACK_BASE;

    fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        rmp_serde::encode::write_named(out, value).map_err(|error| error.to_string())
    }

    fn read<T: DeserializeOwned>(input: &mut &[u8], stack: usize) -> Result<T, ReadError> {
        let msgpack::Measured { len, depth } = msgpack::measure(input)?;
        if depth * STACK_PER_LEVEL + STACK_BASE > stack {
            return Err(ReadError::TooDeep);
        }
        let (own, rest) = input.split_at(len);
        let invalid = |error: rmp_serde::decode::Error| ReadError::Invalid(error.to_string());
        let mut decoder = rmp_serde::Deserializer::from_read_ref(own);
        // The decoder counts depth differently from `measure`.
        decoder.set_max_depth(usize::MAX);
        let value = T::deserialize(&mut decoder).map_err(invalid)?;
        if IgnoredAny::deserialize(&mut decoder).is_ok() {
            return Err("a part of it is left over".into());
        }
        *input = rest;
        Ok(value)
    }
}

/// Appends raw bytes with their length in front, in the same way for every format.
pub(crate) fn write_block(block: &[u8], out: &mut Vec<u8>) {
    buffer_pool::reserve(out, 8 + block.len());
    out.extend_from_slice(&(block.len() as u64).to_le_bytes());
    out.extend_from_slice(block);
}

/// Takes such bytes from the front of the input, without copying them.
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

    fn read<F: Format, T: DeserializeOwned>(mut input: &[u8]) -> Result<T, String> {
        F::read(&mut input, F::MAX_STACK).map_err(|unreadable| format!("{unreadable:?}"))
    }

    fn round<F: Format, T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let mut bytes = vec![];
        F::write(&value, &mut bytes).unwrap();
        bytes.push(0xAB);
        let mut input = &bytes[..];
        assert_eq!(F::read::<T>(&mut input, F::MAX_STACK).unwrap(), value);
        assert_eq!(input, [0xAB], "the rest of the input is left");
    }

    #[test]
    fn values_round_trip_and_leave_the_rest() {
        let inner = Inner { id: u128::MAX, tags: vec!["a".into(), String::new()] };
        round::<Bincode, _>(inner.clone());
        round::<Msgpack, _>(inner);
        round::<Bincode, _>((1u8, -7i64, Some("x".to_owned()), Ok::<u8, String>(3)));
        round::<Msgpack, _>((1u8, -7i64, Some("x".to_owned()), Ok::<u8, String>(3)));
        round::<Bincode, _>(());
        round::<Msgpack, _>(());
    }

    /// An owned type that deserializes from a string borrowed from the input.
    #[derive(Serialize, PartialEq, Debug)]
    struct Upper(String);

    impl<'de> Deserialize<'de> for Upper {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let text: &str = Deserialize::deserialize(from)?;
            Ok(Upper(text.to_uppercase()))
        }
    }

    #[test]
    fn type_may_borrow_from_the_input_while_decoding() {
        round::<Bincode, _>(vec![Upper("A".into()), Upper("B".repeat(300))]);
        round::<Msgpack, _>(vec![Upper("A".into()), Upper("B".repeat(300))]);
        round::<Msgpack, _>(BTreeMap::from([("key", Upper(String::new()))]).into_values().next());
    }

    #[test]
    fn type_that_reads_only_a_part_is_an_error() {
        /// Consumes nothing of the input.
        #[derive(Debug)]
        struct Nothing;
        impl<'de> Deserialize<'de> for Nothing {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Ok(Nothing)
            }
        }
        let error = read::<Msgpack, Nothing>(&[1]).unwrap_err();
        assert!(error.contains("left over"), "{error}");
    }

    #[test]
    fn msgpack_supports_what_bincode_rejects() {
        let flat = Flat { name: "n".into(), rest: BTreeMap::from([("a".into(), 1)]) };
        round::<Msgpack, _>(flat.clone());
        round::<Msgpack, _>(Either::Text("t".into()));
        round::<Msgpack, _>(serde_json::json!({ "a": [1, null, "x"] }));

        let error = Bincode::write(&flat, &mut vec![]).unwrap_err();
        assert!(error.contains("use `codec"), "{error}");
        let mut bytes = vec![];
        Bincode::write(&Either::Number(1), &mut bytes).unwrap();
        let error = read::<Bincode, Either>(&bytes[..]).unwrap_err();
        assert!(error.contains("use `codec"), "{error}");
        let error = read::<Bincode, serde_json::Value>(&bytes[..]).unwrap_err();
        assert!(error.contains("use `codec"), "{error}");
    }

    #[test]
    fn skipped_field_is_an_error_that_names_msgpack() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Sparse {
            #[serde(skip_serializing_if = "Option::is_none")]
            rare: Option<u32>,
            #[serde(default)]
            number: u32,
        }
        let mut bytes = vec![];
        Bincode::write(&Sparse { rare: None, number: 3 }, &mut bytes).unwrap();
        let error = read::<Bincode, Sparse>(&bytes[..]).unwrap_err();
        assert!(error.contains("use `codec"), "{error}");
        round::<Msgpack, _>(Sparse { rare: None, number: 3 });
    }

    #[test]
    fn false_length_is_an_error_and_allocates_little() {
        // A string with a claimed length of 2^60 bytes.
        let mut bytes = vec![253];
        bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(read::<Bincode, String>(&bytes[..]).is_err());
        // The same in MessagePack, with a claimed length of 2^32 - 1.
        assert!(read::<Msgpack, String>(&[0xdb, 0xff, 0xff, 0xff, 0xff, b'x'][..]).is_err());
        let mut block = vec![];
        write_block(b"abc", &mut block);
        assert!(read_block(&mut &block[..10]).is_err());
        assert!(read_block(&mut &block[..7]).is_err());
        assert!(read_block(&mut &[0xff; 8][..]).is_err());
    }

    /// Reads an owned byte string.
    #[derive(Debug)]
    struct ByteBuf(#[expect(dead_code)] Vec<u8>);

    impl<'de> Deserialize<'de> for ByteBuf {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl serde::de::Visitor<'_> for Visitor {
                type Value = ByteBuf;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<ByteBuf, E> {
                    Ok(ByteBuf(bytes))
                }
            }
            from.deserialize_byte_buf(Visitor)
        }
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    enum Shape {
        Unit,
        Newtype(String),
        Tuple(u8, String),
        Struct { text: String },
    }

    /// With the limit that depends on the length of the input, and far beyond the memory there is.
    #[test]
    fn a_wrong_length_behind_a_long_value_allocates_little() {
        fn refused<T: DeserializeOwned + Debug>(before: &[u64]) {
            const LENGTH: u64 = 60_000_000_000;
            let mut bytes = vec![];
            Bincode::write(&vec![7u8; 2 << 20], &mut bytes).unwrap();
            before.iter().chain([&LENGTH]).for_each(|n| Bincode::write(n, &mut bytes).unwrap());
            let error = read::<Bincode, (Vec<u8>, T)>(&bytes).unwrap_err();
            assert!(error.contains("use `codec"), "{error}");
        }
        refused::<String>(&[]);
        refused::<Box<str>>(&[]);
        refused::<ByteBuf>(&[]);
        refused::<Vec<String>>(&[3]);
        refused::<Option<String>>(&[1]);
        refused::<BTreeMap<String, u8>>(&[3]);
        refused::<BTreeMap<u8, String>>(&[3, 1]);
        refused::<Shape>(&[1]);
        refused::<Shape>(&[2, 1]);
        refused::<Shape>(&[3]);
        refused::<std::num::Wrapping<Inner>>(&[1, 1]);
        refused::<Vec<u8>>(&[]);
        refused::<Vec<Vec<u64>>>(&[2]);
        refused::<BTreeMap<u8, u8>>(&[]);
    }

    #[test]
    fn elements_that_take_no_input_are_limited() {
        let most = bounded::MAX_EMPTY_ELEMENTS;
        round::<Bincode, _>(vec![(); most - 100]);
        round::<Bincode, _>((vec!["text".to_owned(); 100], vec![(); most - 100]));
        fn refused(lengths: &[u64]) {
            let mut bytes = vec![];
            lengths.iter().for_each(|length| Bincode::write(length, &mut bytes).unwrap());
            let error = read::<Bincode, Vec<Vec<()>>>(&bytes).unwrap_err();
            assert!(error.contains("longer than its input"), "{error}");
        }
        refused(&[1, 1 << 60]);
        refused(&[4, most as u64 / 2, most as u64 / 2, 100, 100]);
        let mut bytes = vec![];
        Bincode::write(&(1u64 << 60), &mut bytes).unwrap();
        assert!(read::<Bincode, Vec<()>>(&bytes).is_err());
        assert!(read::<Bincode, std::collections::BTreeSet<()>>(&bytes).is_err());
        // MessagePack writes a byte for each.
        round::<Msgpack, _>(vec![(); 3000]);
        assert!(read::<Msgpack, Vec<()>>(&[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0]).is_err());
    }

    #[test]
    fn memory_is_reserved_for_no_more_elements_than_bytes() {
        /// A sequence that records how many elements it is promised.
        #[derive(Debug)]
        struct Promised(usize);
        impl<'de> Deserialize<'de> for Promised {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = Promised;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a sequence")
                    }
                    fn visit_seq<A: serde::de::SeqAccess<'de>>(
                        self,
                        mut access: A,
                    ) -> Result<Promised, A::Error> {
                        let promised = access.size_hint().unwrap();
                        while access.next_element::<()>()?.is_some() {}
                        Ok(Promised(promised))
                    }
                }
                from.deserialize_seq(Visitor)
            }
        }
        let mut bytes = vec![];
        Bincode::write(&vec![1_000u64, 1_000], &mut bytes).unwrap();
        let promised = read::<Bincode, Vec<Promised>>(&bytes).unwrap();
        let total: usize = promised.iter().map(|Promised(n)| n).sum();
        assert!(total <= bytes.len(), "{promised:?}");
    }

    #[test]
    fn long_values_of_small_numbers_are_within_the_limits() {
        round::<Bincode, _>(vec![1u128; (1 << 20) - 100]);
        round::<Bincode, _>(vec![1u64; (1 << 20) + 100]);
        round::<Bincode, _>("x".repeat(3 << 20));
    }

    fn shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Unit),
            ".{0,9}".prop_map(Shape::Newtype),
            (any::<u8>(), ".{0,9}").prop_map(|(number, text)| Shape::Tuple(number, text)),
            ".{0,9}".prop_map(|text| Shape::Struct { text }),
        ]
    }

    proptest! {
        /// What is put between bincode and the type changes neither the format nor the value.
        #[test]
        fn a_value_is_decoded_as_bincode_does_it(
            shapes in prop::collection::vec(prop::option::of(shape()), 0..6),
            map in prop::collection::btree_map(".{0,5}", any::<(i64, u128, char, f32)>(), 0..5),
            units in 0..9usize,
            cut: prop::sample::Index,
        ) {
            type T = (Vec<Option<Shape>>, BTreeMap<String, (i64, u128, char, f32)>, Vec<()>, [bool; 2]);
            let value: T = (shapes, map, vec![(); units], [true, false]);
            let mut bytes = vec![];
            Bincode::write(&value, &mut bytes).unwrap();
            let (theirs, len) =
                bincode::serde::decode_from_slice::<T, _>(&bytes, config::standard()).unwrap();
            prop_assert_eq!(len, bytes.len());
            prop_assert_eq!(format!("{theirs:?}"), format!("{:?}", read::<Bincode, T>(&bytes).unwrap()));
            prop_assert!(read::<Bincode, T>(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            type T = (String, Vec<Inner>, Option<char>, BTreeMap<u8, Result<bool, f32>>);
            let _ = read::<Bincode, T>(&bytes[..]);
            let _ = read::<Msgpack, T>(&bytes[..]);
            let _ = read_block(&mut &bytes[..]);
        }
    }
}
