//! Stamps: points in time on the monotonic clock, stored in 64 bits to fit into atomics.
//!
//! Stamps are converted to wall-clock time when they are read, all with the same offset, so queued
//! <= started <= completed always holds. A device that starts in 1970 shows correct times once its
//! clock is set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

#[cfg(any(target_os = "linux", has_processes))]
use crate::sys::monotonic;
use crate::sys::once::Once;

/// Nanoseconds of the monotonic clock since its first use in this process. 0 means "not yet".
pub(crate) type Stamp = u64;

/// The origin of all stamps.
struct Base {
    instant: Instant,
    /// The same moment on the clock that `now` reads.
    #[cfg(target_os = "linux")]
    nanos: u64,
}

#[inline]
fn base() -> &'static Base {
    static BASE: Once<Base> = Once::new();
    BASE.get_or_init(|| Base {
        // First, so that no instant is later than a stamp that is taken after it.
        #[cfg(target_os = "linux")]
        nanos: monotonic::nanos(),
        instant: Instant::now(),
    })
}

/// Returns the current time.
#[inline]
pub(crate) fn now() -> Stamp {
    // The clock of `Instant` on this system, read with fewer instructions: a task reads it twice.
    #[cfg(target_os = "linux")]
    {
        // The base first: it may be read now.
        let base = base().nanos;
        monotonic::nanos() - base + 1
    }
    #[cfg(not(target_os = "linux"))]
    stamp(Instant::now())
}

/// Returns the stamp of an instant. Instants before the origin count as the origin.
#[inline]
pub(crate) fn stamp(instant: Instant) -> Stamp {
    let since = instant.saturating_duration_since(base().instant);
    // Plus one, so that no stamp is 0. The range is 584 years; later instants, as a schedule may
    // contain, saturate.
    let seconds = since.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(since.subsec_nanos()) + 1)
}

/// Converts a stamp to wall-clock time, according to the current setting of the wall clock.
///
/// All stamps are shifted by the same offset until the wall clock is set, so that the jitter
/// between two clock readings never reverses the order of two stamps. The offset is not protected
/// by a lock, because a forked process may call this while another thread of its parent was in
/// here.
pub(crate) fn system_time(stamp: Stamp) -> SystemTime {
    const CLOCK_WAS_SET: u64 = 500_000_000;
    const UNKNOWN: u64 = u64::MAX;
    /// The wall-clock time of stamp 0, in nanoseconds since 1970, or [`UNKNOWN`].
    static ORIGIN: AtomicU64 = AtomicU64::new(UNKNOWN);
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let read = since_1970.saturating_sub(base().instant.elapsed()).as_nanos() as u64;
    let kept = ORIGIN.load(Ordering::Relaxed);
    let origin = if kept != UNKNOWN && kept.abs_diff(read) < CLOCK_WAS_SET {
        kept
    } else {
        // If several threads notice that the clock was set, the first one decides for all.
        match ORIGIN.compare_exchange(kept, read, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => read,
            Err(theirs) => theirs,
        }
    };
    SystemTime::UNIX_EPOCH + Duration::from_nanos(origin.saturating_add(stamp))
}

/// The instant of a stamp.
pub(crate) fn instant(stamp: Stamp) -> Instant {
    // The other way round than `stamp`. What is too far away for the system's clock does not come.
    let since = Duration::from_nanos(stamp.saturating_sub(1));
    base().instant.checked_add(since).unwrap_or_else(|| after(FAR))
}

/// The stamp this long after another one.
#[inline]
pub(crate) fn add(stamp: Stamp, duration: Duration) -> Stamp {
    stamp.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Longer than any program runs, and short enough to be added to any instant.
pub(crate) const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// Returns `now + duration`, capped at a distant instant.
pub(crate) fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration.min(FAR)).unwrap_or(now)
}

/// Returns the stamp of a `CLOCK_MONOTONIC` reading of another process.
#[cfg(has_processes)]
pub(crate) fn from_monotonic(nanos: u64) -> Stamp {
    // The other process may have written arbitrary bytes.
    nanos.cast_signed().saturating_add(from_monotonic_offset()).max(1).cast_unsigned()
}

/// The moment of `CLOCK_MONOTONIC` of a stamp.
#[cfg(has_processes)]
pub(crate) fn to_monotonic(stamp: Stamp) -> u64 {
    stamp.cast_signed().saturating_sub(from_monotonic_offset()).max(0).cast_unsigned()
}

/// Returns what turns a reading of `CLOCK_MONOTONIC` into a stamp.
#[cfg(all(has_processes, target_os = "linux"))]
fn from_monotonic_offset() -> i64 {
    1 - base().nanos.cast_signed()
}

/// The same where stamps are read from another clock.
#[cfg(all(has_processes, not(target_os = "linux")))]
fn from_monotonic_offset() -> i64 {
    static OFFSET: Once<i64> = Once::new();
    *OFFSET.get_or_init(|| {
        // The thread may be preempted between two readings, and the first readings are slow, so the
        // closest ones of several count.
        let read = || {
            let before = monotonic::nanos();
            let at = now();
            let gap = monotonic::nanos().saturating_sub(before);
            (gap, at.cast_signed() - (before + gap / 2).cast_signed())
        };
        let reads = [read(), read(), read(), read()];
        reads.into_iter().min().map_or(0, |(_, offset)| offset)
    })
}
