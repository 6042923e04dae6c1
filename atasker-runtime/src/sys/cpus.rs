//! Whether two threads can run at once, and what their CPUs' caches shall hold.

use std::sync::OnceLock;

/// Whether this process may use more than one CPU, as it was when somebody first asked.
pub(crate) fn several() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL
        .get_or_init(|| rustix::thread::sched_getaffinity(None).is_ok_and(|set| set.count() > 1))
}

/// So many bytes from here on will be looked at soon: brings them into the CPU's cache.
pub(crate) fn prefetch<T: ?Sized>(from: *const T) {
    const LINES: usize = 4;
    #[cfg(target_arch = "x86_64")]
    for line in 0..LINES {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, for any address: nothing is read as far as the program can tell.
        unsafe { _mm_prefetch(from.cast::<i8>().wrapping_add(64 * line), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, LINES);
}
