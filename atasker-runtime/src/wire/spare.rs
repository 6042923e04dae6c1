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

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Makes room for so many more bytes.
pub(crate) fn reserve(buffer: &mut Vec<u8>, more: usize) {
    let wanted = buffer.len().saturating_add(more);
    if more < LARGE || wanted <= buffer.capacity() {
        return buffer.reserve(more);
    }
    let spare = {
        let mut all = SPARE.lock();
        // The smallest that is large enough, and not far too large: it is held for a while.
        let fits = |spare: &Vec<u8>| wanted <= spare.capacity() && spare.capacity() / 4 <= wanted;
        let fitting = all.iter().enumerate().filter(|(_, spare)| fits(spare));
        let index = fitting.min_by_key(|(_, spare)| spare.capacity()).map(|(index, _)| index);
        index.map(|index| all.swap_remove(index))
    };
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
    let all = std::mem::take(&mut *SPARE.lock());
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
        if !*self.again.get_mut() || others > FEW {
            return;
        }
        let mut all = SPARE.lock();
        let held: usize = all.iter().map(Vec::capacity).sum();
        if all.len() < MOST && held.saturating_add(self.bytes.capacity()) <= MOST_BYTES {
            let mut spare = std::mem::take(&mut self.bytes);
            spare.clear();
            all.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_if_it_shall() {
        // Nobody else in this process uses sizes like these.
        const SIZE: usize = 11 << 20;
        let there = |capacity| SPARE.lock().iter().any(|spare| spare.capacity() == capacity);
        let mut first = Vec::new();
        reserve(&mut first, SIZE);
        first.resize(SIZE, 7);
        let capacity = first.capacity();
        drop(Serving::new(first.clone()));
        assert!(!there(capacity));
        let serving = Serving::new(first);
        serving.shall_serve_again();
        assert_eq!(serving.len(), SIZE);
        drop(serving);
        assert!(there(capacity));

        let mut begun = vec![1, 2];
        reserve(&mut begun, LARGE);
        assert!(begun.capacity() < SIZE, "far too large");
        let mut begun = vec![1, 2];
        reserve(&mut begun, SIZE - 100);
        assert_eq!((begun.capacity(), begun.as_slice()), (capacity, &[1, 2][..]));
        assert!(!there(capacity));
        clear();
    }
}
