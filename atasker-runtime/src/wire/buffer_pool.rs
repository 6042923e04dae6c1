//! A pool of large buffers for encoded arguments. Memory fresh from the system costs several times
//! as much as copying into it, because each page is zeroed and faulted in.
//!
//! Buffers are kept only while large arguments follow one another: the reader thread that decommits
//! the shared memory of arguments also clears this pool.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::fork;
use crate::sync::lock::Mutex;

#[cfg(has_processes)]
use crate::sys::mapping::advise_huge_pages;

/// A no-op, because only Linux takes this advice.
#[cfg(not(has_processes))]
fn advise_huge_pages(_: &mut Vec<u8>) {}

/// Smaller buffers are not worth pooling.
const MIN_LEN: usize = 256 << 10;
/// The most buffers that are kept, and their total size in bytes. One is enough, because when a
/// call follows another, the buffer of the previous call has just become free.
const MAX_BUFFERS: usize = 1;
const MAX_BYTES: usize = 160 << 20;
/// Nothing is kept while more buffers than this are in use: enough of them will be freed, and the
/// memory of the calls in flight counts.
const MAX_IN_USE: usize = 2;

/// The number of large buffers in use. Relaxed, because it only guides what is kept.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

static POOL: Mutex<BufferPool> = Mutex::new(BufferPool(Vec::new()));

struct BufferPool(Vec<Vec<u8>>);

impl BufferPool {
    /// Takes the smallest buffer that is large enough but not more than four times too large,
    /// because the call holds on to it for a while.
    fn take(&mut self, wanted: usize) -> Option<Vec<u8>> {
        let fits =
            |buffer: &Vec<u8>| wanted <= buffer.capacity() && buffer.capacity() / 4 <= wanted;
        let fitting = self.0.iter().enumerate().filter(|(_, buffer)| fits(buffer));
        let (index, _) = fitting.min_by_key(|(_, buffer)| buffer.capacity())?;
        Some(self.0.swap_remove(index))
    }

    /// Keeps a buffer, or frees it if the pool is full or `others_in_use` buffers are too many.
    fn put(&mut self, mut buffer: Vec<u8>, others_in_use: usize) {
        let pooled: usize = self.0.iter().map(Vec::capacity).sum();
        let bytes = pooled.saturating_add(buffer.capacity());
        if others_in_use <= MAX_IN_USE && self.0.len() < MAX_BUFFERS && bytes <= MAX_BYTES {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// Reserves room for `more` bytes, by swapping in a pooled buffer if the vector has to grow.
pub(crate) fn reserve(buffer: &mut Vec<u8>, more: usize) {
    let wanted = buffer.len().saturating_add(more);
    if more < MIN_LEN || wanted <= buffer.capacity() {
        return buffer.reserve(more);
    }
    let pooled = if fork::is_copy() { None } else { POOL.lock().take(wanted) };
    match pooled {
        Some(mut pooled) => {
            pooled.extend_from_slice(buffer);
            *buffer = pooled;
        }
        None => {
            buffer.reserve(more);
            advise_huge_pages(buffer);
        }
    }
}

/// Frees all pooled buffers.
pub(crate) fn clear() {
    let all = std::mem::take(&mut POOL.lock().0);
    // Not under the lock, because freeing large buffers takes system calls.
    drop(all);
}

/// Encoded bytes whose buffer may return to the pool.
pub(crate) struct PooledBuf {
    bytes: Vec<u8>,
    reusable: AtomicBool,
}

impl PooledBuf {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        if bytes.capacity() >= MIN_LEN {
            IN_USE.fetch_add(1, Ordering::Relaxed);
        }
        PooledBuf { bytes, reusable: AtomicBool::new(false) }
    }

    /// Returns the buffer to the pool on drop. The caller guarantees that the pool is cleared
    /// later.
    pub(crate) fn mark_reusable(&self) {
        self.reusable.store(true, Ordering::Relaxed);
    }
}

impl Deref for PooledBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        if self.bytes.capacity() < MIN_LEN {
            return;
        }
        let others_in_use = IN_USE.fetch_sub(1, Ordering::Relaxed) - 1;
        if *self.reusable.get_mut() && !fork::is_copy() {
            POOL.lock().put(std::mem::take(&mut self.bytes), others_in_use);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting_buffer_is_reused() {
        let mut pool = BufferPool(Vec::new());
        pool.put(vec![7; 2 * MIN_LEN], 0);
        pool.put(vec![7; 4 * MIN_LEN], 0);
        assert!(pool.take(3 * MIN_LEN).is_none(), "one is kept at most");
        assert!(pool.take(MIN_LEN / 4).is_none(), "far too large");
        let reusable = pool.take(2 * MIN_LEN).unwrap();
        assert!(reusable.is_empty() && reusable.capacity() >= 2 * MIN_LEN);
        assert!(pool.take(2 * MIN_LEN).is_none());
        pool.put(reusable, MAX_IN_USE + 1);
        assert!(pool.take(2 * MIN_LEN).is_none(), "many are in use");
    }

    #[test]
    fn reserve_keeps_contents() {
        for more in [1, MIN_LEN, 3 * MIN_LEN] {
            let mut buffer = vec![1, 2];
            reserve(&mut buffer, more);
            assert!(buffer.capacity() >= 2 + more && buffer == [1, 2]);
        }
        assert_eq!(*PooledBuf::new(vec![3; MIN_LEN]), [3; MIN_LEN]);
    }
}
