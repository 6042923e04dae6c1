//! A chunk of a map: a call that applies a function to many items. How its arguments and its
//! results are laid out, and what is known of it if its worker process dies.
//!
//! The arguments are the number of items (4 bytes, little endian), then the items. The reply is a
//! [`Summary`], then the results. Items and results are *records*: a length, as a variable number
//! of bytes, and the encoding.

use crate::error::TaskError;

/// What a chunk had finished when its worker process died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Salvaged {
    /// The number of items that had begun.
    pub(crate) begun: u32,
    /// The number of items that were finished: as many, or one less.
    pub(crate) done: u32,
    /// The records of their results.
    pub(crate) results: Vec<u8>,
}

/// The begin of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The number of items that are finished. Others were not begun.
    pub(crate) done: u32,
    /// The task was asked to stop, and therefore did not begin the others.
    pub(crate) stopped: bool,
    /// How long it took, in nanoseconds.
    pub(crate) nanos: u64,
}

impl Summary {
    pub(crate) const LENGTH: usize = 13;

    pub(crate) fn write(self, to: &mut [u8; Self::LENGTH]) {
        to[..4].copy_from_slice(&self.done.to_le_bytes());
        to[4] = self.stopped.into();
        to[5..].copy_from_slice(&self.nanos.to_le_bytes());
    }

    /// Reads it, and returns what follows.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Summary, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<{ Self::LENGTH }>()?;
        let (done, tail) = head.split_first_chunk::<4>()?;
        let (stopped, nanos) = tail.split_first()?;
        let nanos = u64::from_le_bytes(nanos.try_into().ok()?);
        let done = u32::from_le_bytes(*done);
        Some((Summary { done, stopped: *stopped != 0, nanos }, rest))
    }
}

/// Writes a number in as few bytes as it needs, seven bits in each.
pub(crate) fn write_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Appends an item to the arguments of a chunk.
pub(crate) fn write_item(to: &mut Vec<u8>, item: &[u8]) {
    write_number(to, item.len() as u64);
    to.extend_from_slice(item);
}

/// Whether a record is a result or an error: the lowest bit of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Result = 0,
    Error = 1,
}

/// Appends a result, which has two parts.
pub(crate) fn write_result(to: &mut Vec<u8>, kind: Kind, parts: [&[u8]; 2]) {
    let len = parts[0].len() + parts[1].len();
    write_number(to, (len as u64) << 1 | kind as u64);
    parts.iter().for_each(|part| to.extend_from_slice(part));
}

/// The records of items. Ends early if they are malformed.
#[derive(Clone, Debug)]
pub(crate) struct Items<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(read_number(&mut self.0)?).ok()?;
        let (item, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(item)
    }
}

/// The records of results. Ends early if they are malformed.
#[derive(Clone, Debug)]
pub(crate) struct Results<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Results<'a> {
    type Item = (Kind, &'a [u8]);

    fn next(&mut self) -> Option<(Kind, &'a [u8])> {
        let number = read_number(&mut self.0)?;
        let kind = if number & 1 == 0 { Kind::Result } else { Kind::Error };
        let (record, rest) = self.0.split_at_checked(usize::try_from(number >> 1).ok()?)?;
        self.0 = rest;
        Some((kind, record))
    }
}

/// Splits the arguments into the number of items and their records.
///
/// # Errors
///
/// Returns an error if there is no number.
pub(crate) fn split_args(args: &[u8]) -> Result<(u32, Items<'_>), TaskError> {
    let (count, items) = args.split_first_chunk::<4>().ok_or_else(malformed)?;
    Ok((u32::from_le_bytes(*count), Items(items)))
}

/// The error for arguments that this module has not written.
#[cold]
pub(crate) fn malformed() -> TaskError {
    TaskError::not_started("the arguments of a chunk are malformed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn summary_round_trips() {
        let mut bytes = [0; Summary::LENGTH];
        let summary = Summary { done: 1 << 20, stopped: true, nanos: u64::MAX - 1 };
        summary.write(&mut bytes);
        assert_eq!(Summary::read(&bytes), Some((summary, &[][..])));
        assert_eq!(Summary::read(&bytes[1..]), None);
    }

    proptest! {
        #[test]
        fn records_round_trip(
            records in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..9),
            cut: prop::sample::Index,
        ) {
            let (mut items, mut results) = (vec![], vec![]);
            for (is_error, bytes) in &records {
                write_item(&mut items, bytes);
                let kind = if *is_error { Kind::Error } else { Kind::Result };
                let middle = bytes.len() / 3;
                write_result(&mut results, kind, [&bytes[..middle], &bytes[middle..]]);
            }
            prop_assert!(Items(&items).eq(records.iter().map(|(_, bytes)| &bytes[..])));
            let read = Results(&results).map(|(kind, bytes)| (kind == Kind::Error, bytes.to_vec()));
            prop_assert_eq!(read.collect::<Vec<_>>(), records.clone());
            // A part of them yields a part of the records.
            let part = &results[..cut.index(results.len() + 1)];
            prop_assert!(Results(part).count() <= records.len());
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Items(&bytes).count(), Results(&bytes).count(), split_args(&bytes).is_ok());
            let _ = Summary::read(&bytes);
        }

        #[test]
        fn numbers_round_trip(number: u64) {
            let mut bytes = vec![];
            write_number(&mut bytes, number);
            prop_assert_eq!(read_number(&mut &bytes[..]), Some(number));
        }
    }
}
