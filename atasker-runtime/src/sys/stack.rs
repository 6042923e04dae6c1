//! The remaining stack of a thread.

use std::cell::Cell;
#[cfg(not(target_vendor = "apple"))]
use std::mem::MaybeUninit;
use std::ops::Range;
#[cfg(not(target_vendor = "apple"))]
use std::ptr;

/// The bounds of a thread's stack, as the C library reports them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) low: usize,
    pub(crate) high: usize,
    /// Size of the guard below the stack. C libraries differ in whether the guard is part of the
    /// stack.
    pub(crate) guard: usize,
}

impl Bounds {
    /// The addresses that are mapped and belong to the stack.
    fn usable(self) -> Range<usize> {
        self.low + self.guard..self.high
    }
}

/// Returns the bounds of this thread's stack, or `None` if the C library can't tell.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn bounds() -> Option<Bounds> {
    // SAFETY: the attributes are initialized by the calls below, read, and destroyed.
    unsafe {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed().assume_init();
        if !attributes_of_this_thread(&mut attributes) {
            return None;
        }
        let (mut low, mut size, mut guard) = (ptr::null_mut(), 0, 0);
        libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
        libc::pthread_attr_getguardsize(&attributes, &mut guard);
        libc::pthread_attr_destroy(&mut attributes);
        let low = low as usize;
        Some(Bounds { low, high: low + size, guard: guard.max(rustix::param::page_size()) })
    }
}

/// Initializes the attributes, unless it returns false.
#[cfg(target_os = "linux")]
unsafe fn attributes_of_this_thread(attributes: &mut libc::pthread_attr_t) -> bool {
    // SAFETY: the call initializes the attributes if it succeeds.
    unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes) == 0 }
}

/// Initializes the attributes, unless it returns false.
#[cfg(all(not(target_os = "linux"), not(target_vendor = "apple")))]
unsafe fn attributes_of_this_thread(attributes: &mut libc::pthread_attr_t) -> bool {
    // SAFETY: the first call initializes the attributes, and the second fills them in.
    unsafe {
        libc::pthread_attr_init(attributes) == 0
            && libc::pthread_attr_get_np(libc::pthread_self(), attributes) == 0
    }
}

/// Returns the bounds of this thread's stack. The guard is below the stack, as small as a page.
#[cfg(target_vendor = "apple")]
pub(crate) fn bounds() -> Option<Bounds> {
    // SAFETY: both calls take any thread of this process.
    let (high, size) = unsafe {
        let this = libc::pthread_self();
        (libc::pthread_get_stackaddr_np(this) as usize, libc::pthread_get_stacksize_np(this))
    };
    Some(Bounds { low: high - size, high, guard: rustix::param::page_size() })
}

thread_local! {
    /// The usable addresses. Cached, because for the main thread glibc reads a file.
    static USABLE: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Returns an address on the stack of the caller.
#[inline(always)]
pub(crate) fn address() -> usize {
    let here = 0_u8;
    (&raw const here).addr()
}

/// Returns the bytes of stack that the caller has left, or 0 if unknown: on a stack that the
/// program has allocated by itself (for a coroutine, for example).
pub(crate) fn left() -> usize {
    let here = address();
    let usable = USABLE.try_with(|usable| match usable.get() {
        Some(known) => known,
        None => {
            let Range { start, end } = bounds().unwrap_or_default().usable();
            usable.set(Some((start, end)));
            (start, end)
        }
    });
    match usable {
        Ok((low, high)) if (low..high).contains(&here) => here - low,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeper_calls_have_less_stack_left() {
        #[inline(never)]
        fn deeper(levels: u32) -> usize {
            let ballast = std::hint::black_box([0_u8; 1024]);
            let left = if levels == 0 { left() } else { deeper(levels - 1) };
            std::hint::black_box(ballast);
            left
        }
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        let measured = thread.spawn(|| (left(), deeper(16))).unwrap().join().unwrap();
        assert!((100 << 10..=260 << 10).contains(&measured.0), "{measured:?}");
        assert!(measured.1 + (16 << 10) <= measured.0, "{measured:?}");
    }
}
