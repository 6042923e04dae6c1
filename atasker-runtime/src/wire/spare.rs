//! Large buffers that have served, for the next arguments that are encoded: memory that is fresh from the
//! system costs several times as much as what is then copied into it.
//!
//! They are kept while such arguments come one after the other: whoever gives the shared memory of
//! arguments back clears them, too.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::sys::mapping::on_large_pages;

/// A buffer of less is not worth it.
const LARGE: usize = 256 << 10;
/// The most that are kept, and their bytes: where a call follows another, its buffer is just free.
const MOST: usize = 1;
const MOST_BYTES: usize = 160 << 20;
/// None is kept while more than so many are in use: then there is no lack of memory that comes back,
/// and what is in flight counts.
const FEW: usize = 2;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

static SPARE: Mutex<Spare> = Mutex::new(Spare(Vec::new()));

struct Spare(Vec<Vec<u8>>);

impl Spare {
    /// The smallest that is large enough, and not far too large: it is held for a while.
    fn take(&mut self, wanted: usize) -> Option<Vec<u8>> {
        let fits = |spare: &Vec<u8>| wanted <= spare.capacity() && spare.capacity() / 4 <= wanted;
        let fitting = self.0.iter().enumerate().filter(|(_, spare)| fits(spare));
        let (index, _) = fitting.min_by_key(|(_, spare)| spare.capacity())?;
        Some(self.0.swap_remove(index))
    }

    /// Keeps a buffer, or lets it go. So many others are in use.
    fn give(&mut self, mut spare: Vec<u8>, others: usize) {
        let held: usize = self.0.iter().map(Vec::capacity).sum();
        let bytes = held.saturating_add(spare.capacity());
        if others <= FEW && self.0.len() < MOST && bytes <= MOST_BYTES {
            spare.clear();
            self.0.push(spare);
        }
    }
}

/// Makes room for so many more bytes.
pub(crate) fn reserve(buffer: &mut Vec<u8>, more: usize) {
    let wanted = buffer.len().saturating_add(more);
    if more < LARGE || wanted <= buffer.capacity() {
        return buffer.reserve(more);
    }
    let spare = SPARE.lock().take(wanted);
    match spare {
        Some(mut spare) => {
            spare.extend_from_slice(buffer);
            *buffer = spare;
        }
        None => {
            buffer.reserve(more);
            on_large_pages(buffer);
        }
    }
}

/// Gives all of them back to the system.
pub(crate) fn clear() {
    let all = std::mem::take(&mut SPARE.lock().0);
    drop(all);
}

/// Encoded bytes whose buffer may serve again.
pub(crate) struct Serving {
    bytes: Vec<u8>,
    again: AtomicBool,
}

impl Serving {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        if bytes.capacity() >= LARGE {
            IN_USE.fetch_add(1, Ordering::Relaxed);
        }
        Serving { bytes, again: AtomicBool::new(false) }
    }

    /// Its buffer shall serve again: somebody will clear the spare ones.
    pub(crate) fn shall_serve_again(&self) {
        self.again.store(true, Ordering::Relaxed);
    }
}

impl Deref for Serving {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.bytes.capacity() < LARGE {
            return;
        }
        let others = IN_USE.fetch_sub(1, Ordering::Relaxed) - 1;
        if *self.again.get_mut() {
            SPARE.lock().give(std::mem::take(&mut self.bytes), others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_where_it_fits() {
        let mut spare = Spare(Vec::new());
        spare.give(vec![7; 2 * LARGE], 0);
        spare.give(vec![7; 4 * LARGE], 0);
        assert!(spare.take(3 * LARGE).is_none(), "one is kept at most");
        assert!(spare.take(LARGE / 4).is_none(), "far too large");
        let again = spare.take(2 * LARGE).unwrap();
        assert!(again.is_empty() && again.capacity() >= 2 * LARGE);
        assert!(spare.take(2 * LARGE).is_none());
        spare.give(again, FEW + 1);
        assert!(spare.take(2 * LARGE).is_none(), "many are in use");
    }

    #[test]
    fn room_keeps_what_was_there() {
        for more in [1, LARGE, 3 * LARGE] {
            let mut begun = vec![1, 2];
            reserve(&mut begun, more);
            assert!(begun.capacity() >= 2 + more && begun == [1, 2]);
        }
        assert_eq!(*Serving::new(vec![3; LARGE]), [3; LARGE]);
    }
}
