//! The extent of a MessagePack value, measured without decoding it: its length and its nesting
//! depth.
//!
//! The decoder recurses into nested values, and can't tell where it stopped while it lends parts of
//! its input. The value is therefore measured before it is decoded, by a loop.

use crate::wire::codec::ReadError;

/// The most arrays and maps within each other. The decoder's stack frames are large; this many
/// levels fit into the stack that is made for them.
pub(crate) const MAX_DEPTH: usize = 1024;

/// The result of [`measure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// The length of the value in bytes.
    pub(crate) len: usize,
    /// The number of arrays and maps within each other.
    pub(crate) depth: usize,
}

/// Measures the value at the front of `input`.
///
/// # Errors
/// Returns an error if the input ends within the value or is not MessagePack, or if the value is
/// nested too deeply.
pub(crate) fn measure(input: &[u8]) -> Result<Measured, ReadError> {
    let mut reader = Reader(input);
    // The number of values still to come in each open container.
    let mut open: Vec<u64> = Vec::new();
    let mut depth = 0;
    loop {
        let inner = reader.skip_one()?;
        if inner > 0 {
            if open.len() == MAX_DEPTH {
                return Err(ReadError::TooDeep);
            }
            open.push(inner);
            depth = depth.max(open.len());
            continue;
        }
        while let Some(missing) = open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                break;
            }
            open.pop();
        }
        if open.is_empty() {
            return Ok(Measured { len: input.len() - reader.0.len(), depth });
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn skip(&mut self, count: u64) -> Result<(), &'static str> {
        let rest = usize::try_from(count).ok().and_then(|count| self.0.get(count..));
        self.0 = rest.ok_or("the input ends too early")?;
        Ok(())
    }

    /// Reads a big-endian number of `size` bytes.
    fn number(&mut self, size: usize) -> Result<u64, &'static str> {
        let (bytes, rest) = self.0.split_at_checked(size).ok_or("the input ends too early")?;
        self.0 = rest;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Skips a value, or only the header of a container. Returns the number of values in the
    /// container.
    fn skip_one(&mut self) -> Result<u64, &'static str> {
        let marker = self.number(1)? as u8;
        let low = u64::from(marker & 0x0f);
        match marker {
            // Small integers, nil, booleans.
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => {}
            0x80..=0x8f => return Ok(2 * low),
            0x90..=0x9f => return Ok(low),
            // A short string.
            0xa0..=0xbf => self.skip(u64::from(marker & 0x1f))?,
            // Binary data and strings, with a length of 1, 2 or 4 bytes.
            0xc4..=0xc6 => self.skip_block(1 << (marker - 0xc4), 0)?,
            0xd9..=0xdb => self.skip_block(1 << (marker - 0xd9), 0)?,
            // Extensions, with one more byte for their type.
            0xc7..=0xc9 => self.skip_block(1 << (marker - 0xc7), 1)?,
            0xd4..=0xd8 => self.skip(1 + (1 << (marker - 0xd4)))?,
            // Floats, unsigned and signed integers.
            0xca => self.skip(4)?,
            0xcb => self.skip(8)?,
            0xcc..=0xcf => self.skip(1 << (marker - 0xcc))?,
            0xd0..=0xd3 => self.skip(1 << (marker - 0xd0))?,
            0xdc | 0xdd => return self.number(2 << (marker - 0xdc)),
            0xde | 0xdf => return Ok(2 * self.number(2 << (marker - 0xde))?),
            0xc1 => return Err("the input is no MessagePack"),
        }
        Ok(0)
    }

    fn skip_block(&mut self, size_of_len: usize, more: u64) -> Result<(), &'static str> {
        let len = self.number(size_of_len)?;
        self.skip(len + more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn depth_of(value: &Value) -> usize {
        match value {
            Value::Array(list) if list.is_empty() => 0,
            Value::Array(list) => 1 + list.iter().map(depth_of).max().unwrap_or(0),
            Value::Object(map) if map.is_empty() => 0,
            Value::Object(map) => 1 + map.values().map(depth_of).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (0u8..200).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0usize..70_000).prop_map(|len| Value::from("x".repeat(len))),
        ];
        leaf.prop_recursive(6, 60, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,40}", inner, 0..20)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn measured_length_and_depth_match_the_value(value in value(), rest: Vec<u8>) {
            let mut bytes = rmp_serde::to_vec_named(&value).unwrap();
            let expected = Measured { len: bytes.len(), depth: depth_of(&value) };
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(measure(&bytes).unwrap(), expected);
            for cut in [0, expected.len / 2, expected.len - 1] {
                prop_assert!(measure(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_measured_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Measured { len, .. }) = measure(&bytes) {
                prop_assert!((1..=bytes.len()).contains(&len));
            }
        }
    }

    #[test]
    fn every_kind_of_value_is_measured() {
        let number = |count: usize| vec![7; count];
        let cases: [(u8, Vec<u8>); 12] = [
            (0xc4, [&[3][..], &number(3)].concat()),
            (0xc5, [&[0, 3][..], &number(3)].concat()),
            (0xc6, [&[0, 0, 0, 3][..], &number(3)].concat()),
            (0xc7, [&[3][..], &number(4)].concat()),
            (0xc8, [&[0, 3][..], &number(4)].concat()),
            (0xc9, [&[0, 0, 0, 3][..], &number(4)].concat()),
            (0xd4, number(2)),
            (0xd8, number(17)),
            (0xca, number(4)),
            (0xcb, number(8)),
            (0xdd, [&[0, 0, 0, 3][..], &number(3)].concat()),
            (0xdf, [&[0, 0, 0, 3][..], &number(6)].concat()),
        ];
        for (marker, more) in cases {
            let bytes = [&[marker][..], &more, &[0xc1]].concat();
            assert_eq!(measure(&bytes).unwrap().len, bytes.len() - 1, "{marker:x}");
        }
        assert!(measure(&[0xc1]).is_err());
        assert_eq!(measure(&rmp_serde::to_vec(&json!([[[]]])).unwrap()).unwrap().depth, 2);
    }

    #[test]
    fn too_deep_value_is_rejected() {
        let nested = |levels| [vec![0x91; levels], vec![0xc0]].concat();
        let expected = Measured { len: MAX_DEPTH + 1, depth: MAX_DEPTH };
        assert_eq!(measure(&nested(MAX_DEPTH)), Ok(expected));
        for levels in [MAX_DEPTH + 1, 1_000_000] {
            assert_eq!(measure(&nested(levels)), Err(ReadError::TooDeep));
        }
    }
}
