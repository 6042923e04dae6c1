//! The fields of a frame: how they are written and read.

use crate::text::prefix;

/// Bytes that are not a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it violated the protocol: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Bytes of the length in front of a frame.
pub(super) const LENGTH_PREFIX: usize = 8;

/// Writes one frame.
pub(crate) struct FieldWriter<'a> {
    to: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> FieldWriter<'a> {
    pub(super) fn new(to: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = to.len();
        to.extend_from_slice(&[0; LENGTH_PREFIX]);
        to.push(kind);
        FieldWriter { to, start }
    }
    pub(super) fn u8(self, value: u8) -> Self {
        self.to.push(value);
        self
    }
    pub(super) fn u32(self, value: u32) -> Self {
        self.to.extend_from_slice(&value.to_le_bytes());
        self
    }
    pub(super) fn u64(self, value: u64) -> Self {
        self.to.extend_from_slice(&value.to_le_bytes());
        self
    }
    pub(super) fn bytes(self, value: &[u8]) -> Self {
        let this = self.u64(value.len() as u64);
        this.to.extend_from_slice(value);
        this
    }
    pub(super) fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }
    /// Writes the text, truncated to `most` bytes at a character boundary.
    pub(super) fn truncated_text(self, value: &str, most: usize) -> Self {
        self.text(prefix(value, most))
    }
    pub(super) fn option(self, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.u8(1).u64(value),
            None => self.u8(0),
        }
    }
    pub(super) fn option_u32(self, value: Option<u32>) -> Self {
        match value {
            Some(value) => self.u8(1).u32(value),
            None => self.u8(0),
        }
    }
    pub(super) fn option_text(self, value: Option<&str>) -> Self {
        self.truncated_option_text(value, usize::MAX)
    }
    pub(super) fn truncated_option_text(self, value: Option<&str>, most: usize) -> Self {
        match value {
            Some(value) => self.u8(1).truncated_text(value, most),
            None => self.u8(0),
        }
    }
    pub(super) fn end(self) {
        let length = (self.to.len() - self.start - LENGTH_PREFIX) as u64;
        self.to[self.start..self.start + LENGTH_PREFIX].copy_from_slice(&length.to_le_bytes());
    }
}

/// Reads the fields of one frame.
pub(crate) struct FieldReader<'a>(&'a [u8]);

impl<'a> FieldReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        FieldReader(bytes)
    }
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("a truncated field"))?;
        self.0 = rest;
        Ok(taken)
    }
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Malformed("a truncated field"))
    }
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u64()?;
        self.take(usize::try_from(length).map_err(|_| Malformed("a truncated field"))?)
    }
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text that is not UTF-8"))
    }
    pub(super) fn option(&mut self) -> Result<Option<u64>, Malformed> {
        self.optional(Self::u64)
    }
    pub(super) fn option_u32(&mut self) -> Result<Option<u32>, Malformed> {
        self.optional(Self::u32)
    }
    pub(super) fn option_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        self.optional(Self::text)
    }
    fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(read(self)?)),
            _ => Err(Malformed("an invalid option tag")),
        }
    }
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("a frame with extra bytes")) }
    }
}

/// Appends a text as a field, for values that are encoded inside a field.
pub(crate) fn write_text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u64).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}
