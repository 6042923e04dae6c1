//! Prefetching into the cache of a CPU.

/// Prefetches the first cache lines from this address, which will be read soon.
pub(crate) fn prefetch<T: ?Sized>(from: *const T) {
    const LINES: usize = 4;
    #[cfg(target_arch = "x86_64")]
    for line in 0..LINES {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching is a hint and valid for any address, because the program observes no
        // read.
        unsafe { _mm_prefetch(from.cast::<i8>().wrapping_add(64 * line), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, LINES);
}
