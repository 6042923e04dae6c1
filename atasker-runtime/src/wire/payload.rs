//! Encoded values. Short ones are stored inline, longer ones in a vector.
//!
//! Most calls have a few numbers as arguments, and these need no allocation.

use std::cell::Cell;
use std::ops::Deref;

/// The longest payload, in bytes, that is stored inline.
pub(crate) const INLINE_LEN: usize = 38;

/// Encoded bytes. See the module documentation.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub(crate) Repr);

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_LEN] },
    Heap(Vec<u8>),
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Payload").field(&&**self).finish()
    }
}

impl Payload {
    pub(crate) const EMPTY: Payload = Payload(Repr::Inline { len: 0, bytes: [0; INLINE_LEN] });

    /// Copies the bytes inline, if they are few enough.
    fn inline(bytes: &[u8]) -> Option<Self> {
        let mut inline = [0; INLINE_LEN];
        inline.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Payload(Repr::Inline { len: bytes.len() as u8, bytes: inline }))
    }
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

thread_local! {
    /// A buffer that is reused by the next encoding on this thread.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Returns an empty buffer to encode into; see [`finish`].
pub(crate) fn take_buffer() -> Vec<u8> {
    BUFFER.try_with(Cell::take).unwrap_or_default()
}

/// Converts the encoded buffer to a payload. If the bytes fit inline, the buffer is kept for the
/// next encoding.
pub(crate) fn finish(mut buffer: Vec<u8>) -> Payload {
    let Some(inline) = Payload::inline(&buffer) else {
        return Payload(Repr::Heap(buffer));
    };
    buffer.clear();
    // Fails only while the thread exits.
    let _ = BUFFER.try_with(|cached| cached.set(buffer));
    inline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_and_heap_payloads_read_the_same() {
        for len in [0, 1, INLINE_LEN - 1, INLINE_LEN, INLINE_LEN + 1, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let payload = finish(bytes.clone());
            assert_eq!(*payload, *bytes);
            assert_eq!(matches!(payload.0, Repr::Inline { .. }), len <= INLINE_LEN);
            assert!(take_buffer().is_empty());
        }
    }
}
