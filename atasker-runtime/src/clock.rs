//! Moments on the monotonic clock, small enough to keep in atomics.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// Nanoseconds of the monotonic clock since this process first looked. 0 stands for "not yet".
pub(crate) type Stamp = u64;

/// The instant that stamps count from.
#[inline]
fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

/// Now.
#[inline]
pub(crate) fn now() -> Stamp {
    stamp(Instant::now())
}

/// The stamp of an instant; instants before the base count as the base.
#[inline]
pub(crate) fn stamp(instant: Instant) -> Stamp {
    let since = instant.saturating_duration_since(base());
    // One more, so that no stamp is ever 0. It reaches for 584 years.
    since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos()) + 1
}

thread_local! {
    static NOTED: Cell<Stamp> = const { Cell::new(0) };
}

/// Now, which this thread notes.
#[inline]
pub(crate) fn now_noted() -> Stamp {
    let now = now();
    NOTED.set(now);
    now
}

/// The moment that this thread noted since it was last asked. Where one task begins as the other
/// ends, one reading of the clock is enough for both.
#[inline]
pub(crate) fn take_noted() -> Option<Stamp> {
    let noted = NOTED.replace(0);
    (noted != 0).then_some(noted)
}

/// The wall-clock time of a stamp, by the wall clock as it is set now: devices start in 1970 and
/// learn the time later.
///
/// All stamps are shifted by the same amount until the wall clock has been set anew, so that the
/// jitter of reading two clocks never turns the order of two stamps around.
pub(crate) fn system_time(stamp: Stamp) -> SystemTime {
    const CLOCK_WAS_SET: Duration = Duration::from_millis(500);
    static ORIGIN: Mutex<Option<SystemTime>> = Mutex::new(None);
    let read = SystemTime::now().checked_sub(base().elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut origin = ORIGIN.lock();
    let kept = origin.filter(|kept| {
        let moved = kept.duration_since(read).unwrap_or_else(|error| error.duration());
        moved < CLOCK_WAS_SET
    });
    let origin = *origin.insert(kept.unwrap_or(read));
    origin + Duration::from_nanos(stamp)
}

/// `now + duration`, or a moment far enough away where that does not exist.
pub(crate) fn after(duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    let now = Instant::now();
    now.checked_add(duration.min(FAR)).unwrap_or(now)
}

/// The stamp of a moment of `CLOCK_MONOTONIC`, as another process has read it.
#[cfg(feature = "mp")]
pub(crate) fn from_monotonic(nanos: u64) -> Stamp {
    use crate::sys::link::monotonic;
    static OFFSET: OnceLock<i64> = OnceLock::new();
    // std's clock is the same one, counted from another moment.
    let offset = OFFSET.get_or_init(|| now().cast_signed() - monotonic().cast_signed());
    // What the other process has written may be nonsense.
    nanos.cast_signed().saturating_add(*offset).max(1).cast_unsigned()
}
