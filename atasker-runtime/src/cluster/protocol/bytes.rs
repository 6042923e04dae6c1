//! How records, entries and frames are written to bytes and read again.
//!
//! Integers are in LEB128, so that small ones are short. Nothing is allocated that is longer than the
//! input.

use std::sync::Arc;
use std::time::Duration;

use crate::id::TaskId;

/// Bytes that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// They are not what they should be.
    #[error("{0}")]
    Malformed(&'static str),
    /// They were written by a newer version.
    #[error("format {0} is newer than this program")]
    Newer(u8),
}

const TRUNCATED: Unreadable = Unreadable::Malformed("a truncated field");

/// Appends fields.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_version(version: u8) -> Writer {
        Writer(vec![version])
    }

    /// `room` is about how many bytes are to follow.
    pub(super) fn with_room(version: u8, room: usize) -> Writer {
        let mut bytes = Vec::with_capacity(room + 1);
        bytes.push(version);
        Writer(bytes)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    pub(super) fn int(&mut self, value: impl Into<u64>) -> &mut Self {
        let mut value = value.into();
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8)
    }

    pub(super) fn len(&mut self, value: usize) -> &mut Self {
        self.int(value as u64)
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.len(value.len());
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    pub(super) fn array<const N: usize>(&mut self, value: &[u8; N]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn fixed(&mut self, value: u64) -> &mut Self {
        self.array(&value.to_le_bytes())
    }

    pub(super) fn duration(&mut self, value: Duration) -> &mut Self {
        self.int(value.as_secs()).int(value.subsec_nanos())
    }

    pub(super) fn id(&mut self, id: TaskId) -> &mut Self {
        let (origin, number) = id.to_parts();
        self.fixed(origin).int(number)
    }

    pub(super) fn option<T>(
        &mut self,
        value: Option<T>,
        write: impl FnOnce(&mut Self, T),
    ) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    pub(super) fn optional_text(&mut self, value: Option<&str>) -> &mut Self {
        self.option(value, |to, text| {
            to.text(text);
        })
    }
}

/// Reads fields.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

type Read<T> = Result<T, Unreadable>;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// Reads the version byte. Versions up to `known` can be read.
    pub(super) fn with_version(bytes: &'a [u8], known: u8) -> Read<Reader<'a>> {
        let mut reader = Reader(bytes);
        match reader.u8()? {
            0 => Err(Unreadable::Malformed("a version of 0")),
            version if version > known => Err(Unreadable::Newer(version)),
            _ => Ok(reader),
        }
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn bool(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable::Malformed("a truth value that is neither")),
        }
    }

    pub(super) fn u64(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable::Malformed("an integer that is too large"))
    }

    pub(super) fn u32(&mut self) -> Read<u32> {
        let value = self.u64()?;
        value.try_into().map_err(|_| Unreadable::Malformed("an integer that is too large"))
    }

    pub(super) fn i32(&mut self) -> Read<i32> {
        Ok(self.u32()? as i32)
    }

    /// The number of elements that follow, each of which takes a byte at least.
    pub(super) fn count(&mut self) -> Read<usize> {
        let count = usize::try_from(self.u64()?).map_err(|_| TRUNCATED)?;
        if count > self.0.len() { Err(TRUNCATED) } else { Ok(count) }
    }

    pub(super) fn bytes(&mut self) -> Read<&'a [u8]> {
        let count = self.count()?;
        self.take(count)
    }

    fn str(&mut self) -> Read<&'a str> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map_err(|_| Unreadable::Malformed("a text that is not UTF-8"))
    }

    pub(super) fn text(&mut self) -> Read<String> {
        self.str().map(str::to_owned)
    }

    /// Reads a text that several owners keep.
    pub(super) fn shared_text(&mut self) -> Read<Arc<str>> {
        self.str().map(Arc::from)
    }

    /// Passes over bytes or a text.
    pub(super) fn skip_bytes(&mut self) -> Read<()> {
        self.bytes().map(drop)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| TRUNCATED)
    }

    pub(super) fn fixed(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn duration(&mut self) -> Read<Duration> {
        let (seconds, nanos) = (self.u64()?, self.u32()?);
        if nanos >= 1_000_000_000 {
            return Err(Unreadable::Malformed("a duration that is not one"));
        }
        Ok(Duration::new(seconds, nanos))
    }

    pub(super) fn id(&mut self) -> Read<TaskId> {
        Ok(TaskId::from_parts(self.fixed()?, self.u64()?))
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn end(self) -> Read<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Unreadable::Malformed("extra bytes")),
        }
    }
}
