//! Detects that this process is a copy made by `fork`.
//!
//! A byte is 1 in the process that has set it, and 0 in every copy. The byte is in a page that the
//! kernel zeroes in copies (`MADV_WIPEONFORK`), which also covers a raw `clone` that bypasses the C
//! library. In addition, a `pthread_atfork` handler sets it to 0, for systems without such pages.
//! `vfork` and `posix_spawn` are not forks in this sense, because their copies run no code of the
//! program.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// The address of the byte; null until [`watch`] is called.
static FLAG: AtomicPtr<AtomicU8> = AtomicPtr::new(ptr::null_mut());

/// The byte on systems without pages that are wiped.
static FALLBACK_FLAG: AtomicU8 = AtomicU8::new(0);

/// Whether this process is a copy of a process that had called [`watch`].
#[inline]
pub(crate) fn is_copy() -> bool {
    let flag = FLAG.load(Ordering::Acquire);
    // SAFETY: the pointer is to a page that is never unmapped, or to a static.
    !flag.is_null() && unsafe { (*flag).load(Ordering::Relaxed) } == 0
}

/// Both [`watch`] and [`is_copy`], for the cost of one.
#[inline]
pub(crate) fn watch_and_check() -> bool {
    let flag = FLAG.load(Ordering::Acquire);
    if flag.is_null() {
        init();
        return false;
    }
    // SAFETY: as in `is_copy`.
    unsafe { (*flag).load(Ordering::Relaxed) == 0 }
}

/// Makes copies of this process detectable from now on.
///
/// Takes no lock, because another thread may fork at any moment.
#[inline]
pub(crate) fn watch() {
    if FLAG.load(Ordering::Acquire).is_null() {
        init();
    }
}

#[cold]
fn init() {
    let page = wipe_on_fork_page();
    let flag = page.unwrap_or(ptr::from_ref(&FALLBACK_FLAG).cast_mut());
    // SAFETY: the pointer is to a mapped page of this process, or to a static; no other thread
    // knows the page yet.
    unsafe { (*flag).store(1, Ordering::Relaxed) };
    // Release: a thread that sees the address also sees the 1 stored above.
    let set = FLAG.compare_exchange(ptr::null_mut(), flag, Ordering::AcqRel, Ordering::Acquire);
    if set.is_err() {
        // Another thread was faster. The page is leaked, which happens at most a few times.
        return;
    }
    // SAFETY: the handler is a function of this program or library, and the C library removes it
    // when that is unloaded. The handler stores a byte, which is allowed in a copy.
    unsafe { libc::pthread_atfork(None, None, Some(in_copy)) };
}

/// Makes this copy a process like any other: its own copies are detectable, and it is none.
///
/// Called in a worker process that was forked from a template, where no lock was held.
#[cfg_attr(not(feature = "mp"), allow(dead_code))]
pub(crate) fn begin_anew() {
    let flag = FLAG.load(Ordering::Relaxed);
    if !flag.is_null() {
        // SAFETY: as in `is_copy`.
        unsafe { (*flag).store(1, Ordering::Relaxed) };
    }
}

unsafe extern "C" fn in_copy() {
    let flag = FLAG.load(Ordering::Relaxed);
    if !flag.is_null() {
        // SAFETY: as in `is_copy`.
        unsafe { (*flag).store(0, Ordering::Relaxed) };
    }
}

/// Maps a page that is all zero in copies of this process, if the system supports that.
#[cfg(all(target_os = "linux", not(sys_portable)))]
fn wipe_on_fork_page() -> Option<*mut AtomicU8> {
    // SAFETY: a new mapping at an address chosen by the kernel touches no other memory. The advice
    // is for that page, which is unmapped only if no one refers to it.
    unsafe {
        let size = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).ok()?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(ptr::null_mut(), size, access, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(page, size, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, size);
            return None;
        }
        Some(page.cast())
    }
}

#[cfg(any(not(target_os = "linux"), sys_portable))]
fn wipe_on_fork_page() -> Option<*mut AtomicU8> {
    None
}

/// Ends a copy immediately: no destructor and no exit handler runs in it.
#[cold]
pub(crate) fn end_copy() -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(1) }
}

/// Writes a message to stderr, without the locks of std, and ends a copy.
#[cold]
pub(crate) fn say_and_end_copy(message: &[u8]) -> ! {
    // SAFETY: the pointer and the length are those of the slice.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
    end_copy()
}
