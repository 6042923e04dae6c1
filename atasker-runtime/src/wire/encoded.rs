//! Encoded values: a few bytes stand in place, more have a vector of their own.
//!
//! Most calls carry a few numbers: these shall cost no allocation on their way.

use std::cell::Cell;
use std::ops::Deref;

/// So many bytes stand in place.
pub(crate) const SHORT: usize = 38;

/// See the module's documentation.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded(pub(crate) Form);

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Vec<u8>),
}

impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Encoded").field(&&**self).finish()
    }
}

impl Encoded {
    /// A copy of bytes that are few.
    fn short(bytes: &[u8]) -> Option<Self> {
        let mut short = [0; SHORT];
        short.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Encoded(Form::Short { len: bytes.len() as u8, bytes: short }))
    }

    /// So many bytes, all zero, to be written.
    pub(crate) fn zeroed(len: usize) -> Self {
        Encoded(match len {
            0..=SHORT => Form::Short { len: len as u8, bytes: [0; SHORT] },
            _ => Form::Long(vec![0; len]),
        })
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Form::Short { len, bytes } => &mut bytes[..usize::from(*len)],
            Form::Long(bytes) => bytes,
        }
    }
}

impl Deref for Encoded {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Short { len, bytes } => &bytes[..usize::from(*len)],
            Form::Long(bytes) => bytes,
        }
    }
}

thread_local! {
    /// The buffer in which this thread encodes.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer to encode in, for [`seal`].
pub(crate) fn buffer() -> Vec<u8> {
    BUFFER.try_with(Cell::take).unwrap_or_default()
}

/// What was encoded. A buffer of which a few bytes were used is kept for the next time.
pub(crate) fn seal(mut buffer: Vec<u8>) -> Encoded {
    let Some(short) = Encoded::short(&buffer) else {
        return Encoded(Form::Long(buffer));
    };
    buffer.clear();
    // A thread at its end has none any more.
    let _ = BUFFER.try_with(|kept| kept.set(buffer));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_bytes_are_the_same_to_a_reader() {
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let sealed = seal(bytes.clone());
            assert_eq!(*sealed, *bytes);
            assert_eq!(matches!(sealed.0, Form::Short { .. }), len <= SHORT);
            let mut copy = Encoded::zeroed(len);
            assert!(copy.iter().all(|byte| *byte == 0));
            copy.as_mut().copy_from_slice(&bytes);
            assert_eq!(copy, sealed);
            assert!(buffer().is_empty());
        }
    }
}
