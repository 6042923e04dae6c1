//! The monotonic clock, which is the same in all processes of a machine.

/// Returns the nanoseconds of `CLOCK_MONOTONIC`.
#[inline]
pub(crate) fn nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local value of this type. The call can't fail: the clock exists
    // on every system of this module.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
