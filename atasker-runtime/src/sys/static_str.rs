//! A static text in 10 bytes, for structs that exist in large numbers.

use std::{slice, str};

/// A `&'static str` of at most 65,535 bytes. Aligned to 2 bytes, so that it leaves no hole.
#[derive(Clone, Copy)]
#[repr(C, packed(2))]
pub(crate) struct StaticStr {
    /// From a `&'static str`.
    start: *const u8,
    length: u16,
}

// SAFETY: it is a shared reference to static text.
unsafe impl Send for StaticStr {}
// SAFETY: as above.
unsafe impl Sync for StaticStr {}

impl StaticStr {
    /// Returns `None` if the text is too long.
    #[inline]
    pub(crate) const fn new(text: &'static str) -> Option<StaticStr> {
        if text.len() > u16::MAX as usize {
            return None;
        }
        Some(StaticStr { start: text.as_ptr(), length: text.len() as u16 })
    }

    #[inline]
    pub(crate) fn get(self) -> &'static str {
        // SAFETY: both fields came from a `&'static str`.
        unsafe { str::from_utf8_unchecked(slice::from_raw_parts(self.start, self.length.into())) }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_unless_they_are_too_long() {
        assert_eq!(size_of::<StaticStr>(), 10);
        for length in [0, 1, 65_535] {
            let text: &'static str = "é".repeat(length).leak();
            let text = &text[..length - length % 2];
            assert_eq!(StaticStr::new(text).unwrap().get(), text);
        }
        assert!(StaticStr::new("x".repeat(65_536).leak()).is_none());
    }
}
