//! Memory shared by the parent and a worker process: one anonymous file (memfd), which begins with
//! a [`Mapping`] and continues with bytes, the [`Region`]s.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::process::Resource;

use crate::sys::system::futex;
use crate::sys::{fork, stdio};

/// Whether this system may have memory that two processes share, and futexes in it.
pub(crate) const CAN_SHARE: bool = true;

/// A layout that both processes may read and write at any time.
///
/// # Safety
/// All fields must be atomics (or arrays of them), laid out by `repr(C)`, and all bytes zero must
/// be a valid value of the type.
pub(crate) unsafe trait Shared: Sync + 'static {}

/// A mapped `T`.
pub(crate) struct Mapping<T: Shared> {
    bytes: Pages,
    _maps: PhantomData<T>,
}

impl<T: Shared> Mapping<T> {
    /// Creates new zeroed memory: a `T` followed by `more` bytes, and the descriptor by which
    /// another process maps it.
    pub(crate) fn create(more: usize) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = stdio::above_stdio(rustix::fs::memfd_create("atasker", flags)?)?;
        rustix::fs::ftruncate(&fd, (Self::LENGTH + more) as u64)?;
        // Sealed, because reading a mapping past the end of a shrunk file would raise SIGBUS.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Ok((Self::map(&fd)?, fd))
    }

    /// Maps what another process has created. Also returns the number of bytes behind the `T`.
    pub(crate) fn open(fd: impl AsFd) -> io::Result<(Self, usize)> {
        let length = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
        let Some(more) = length.checked_sub(Self::LENGTH) else {
            return Err(io::Error::other("the shared page has another size"));
        };
        Ok((Self::map(fd)?, more))
    }

    /// Creates a `T` in memory of this process alone.
    pub(crate) fn private() -> io::Result<Self> {
        Ok(Mapping { bytes: Pages::private(Self::LENGTH)?, _maps: PhantomData })
    }

    /// Excludes the mapping from copies of this process made by `fork`.
    pub(crate) fn exclude_from_forks(&self) -> io::Result<()> {
        self.bytes.exclude_from_forks()
    }

    /// The length of the `T` in the file, in bytes. The regions begin behind it.
    pub(crate) const LENGTH: usize = size_of::<T>().next_multiple_of(1 << 16);

    fn map(fd: impl AsFd) -> io::Result<Self> {
        Ok(Mapping {
            bytes: Pages::map(fd, 0..Self::LENGTH, Access::ReadWrite)?,
            _maps: PhantomData,
        })
    }
}

impl<T: Shared> Deref for Mapping<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the mapping is as large as `T`, lives as long as `self`, is page-aligned, and
        // contains a valid `T` whatever either process writes there: see `Shared`.
        unsafe { self.bytes.address.cast::<T>().as_ref() }
    }
}

/// What this process may do with a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// Mapped pages of a file that can't shrink.
struct Pages {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is accessed only through methods of the owner, which state their rules.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    fn map(fd: impl AsFd, range: Range<usize>, access: Access) -> io::Result<Self> {
        let flags = match access {
            Access::ReadOnly => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        let (length, offset) = (range.len(), range.start as u64);
        // SAFETY: a new mapping at an address chosen by the kernel touches no other memory.
        let address = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, flags, MapFlags::SHARED, fd, offset)?
        };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let pages = Pages { address, length };
        pages.exclude_from_core_dumps();
        Ok(pages)
    }

    /// Excludes the pages from core files. Hundreds of megabytes, in the core file of the worker
    /// process and in that of the program, would take seconds to write, and the process ends only
    /// after that.
    fn exclude_from_core_dumps(&self) {
        // SAFETY: the advice affects core files only; it changes nothing in this process.
        let advised = unsafe {
            let address = self.address.as_ptr().cast();
            rustix::mm::madvise(address, self.length, Advice::LinuxDontDump)
        };
        debug_assert!(advised.is_ok());
    }

    /// Maps anonymous private memory.
    fn private(length: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address chosen by the kernel touches no other memory.
        let address = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, access, MapFlags::PRIVATE)?
        };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Pages { address, length })
    }

    /// Excludes the pages from forks. A task may fork, and the copy may return from the task's
    /// function, too. The copy must neither reply for this process nor take its next call.
    fn exclude_from_forks(&self) -> io::Result<()> {
        // SAFETY: the advice affects forks only; it changes nothing in this process.
        unsafe {
            let address = self.address.as_ptr().cast();
            rustix::mm::madvise(address, self.length, Advice::LinuxDontFork)?;
        }
        Ok(())
    }

    fn within(&self, at: usize, length: usize) -> bool {
        at.checked_add(length).is_some_and(|end| end <= self.length)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if fork::is_copy() {
            // Most pages are not mapped in a fork of the process, and other mappings may be at
            // their addresses.
            return;
        }
        // SAFETY: the pages were mapped with this length, and no pointer to them outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Bytes that one process writes and the other reads: a part of the file, mapped as far as needed
/// so far.
pub(crate) struct Region {
    /// The region's range in the file.
    range: Range<usize>,
    access: Access,
    mapped: Option<Pages>,
}

impl Region {
    pub(crate) fn new(range: Range<usize>, access: Access) -> Self {
        Region { range, access, mapped: None }
    }

    /// Maps the whole region, so that later accesses need no call.
    pub(crate) fn map_all(&mut self, fd: impl AsFd) -> io::Result<()> {
        let pages = Pages::map(fd, self.range.clone(), self.access)?;
        // A read-only region is kept in forks, because a task may borrow from it in a fork.
        if self.access == Access::ReadWrite {
            pages.exclude_from_forks()?;
        }
        self.mapped = Some(pages);
        Ok(())
    }

    /// Ensures that the first `end` bytes are mapped.
    pub(crate) fn ensure_mapped(&mut self, fd: impl AsFd, end: usize) -> io::Result<()> {
        /// The smallest mapping in bytes. A smaller one is not worth a system call.
        const MIN_MAPPED: usize = 1 << 20;
        if self.mapped.as_ref().is_some_and(|pages| end <= pages.length) {
            return Ok(());
        }
        if end > self.range.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = end.next_power_of_two().max(MIN_MAPPED).min(self.range.len());
        let range = self.range.start..self.range.start + length;
        let pages = Pages::map(fd, range, self.access)?;
        pages.exclude_from_forks()?;
        self.mapped = Some(pages);
        Ok(())
    }

    fn mapped(&self, at: usize, length: usize) -> *mut u8 {
        let pages = self.mapped.as_ref().filter(|pages| pages.within(at, length));
        let pages = pages.expect("what is used of an area is mapped");
        // SAFETY: `at` is within the mapping.
        unsafe { pages.address.as_ptr().add(at) }
    }

    /// Copies bytes into the region. The range must have been mapped.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        assert_eq!(self.access, Access::ReadWrite);
        let to = self.mapped(at, bytes.len());
        // SAFETY: `to` is mapped, writable and as long as `bytes`, which is ordinary memory of this
        // process. No reference points to `to`, because this process only writes there. If the
        // other process writes at the same time, against the rules, then only the bytes that it
        // reads are affected.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies bytes out of the region, into a new buffer.
    pub(crate) fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let from = self.mapped(at, length);
        let mut bytes = Vec::with_capacity(length);
        advise_huge_pages(&mut bytes);
        // SAFETY: `from` is mapped for `length` bytes, and the buffer has as much capacity. The
        // file can't shrink, so every byte is backed by a page. No reference points there. A worker
        // that writes at the same time, against the rules, corrupts only these bytes, and any bytes
        // are valid.
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length);
            bytes.set_len(length);
        }
        bytes
    }

    /// Borrows bytes in place.
    ///
    /// # Safety
    /// The bytes must not be written to while they are borrowed.
    pub(crate) unsafe fn borrow(&self, at: usize, length: usize) -> &[u8] {
        // SAFETY: the bytes are mapped as long as `self` lives, and the caller guarantees that they
        // are not written to.
        unsafe { std::slice::from_raw_parts(self.mapped(at, length), length) }
    }

    /// Returns the memory of the first `end` bytes, which must be mapped, to the system, for both
    /// processes. The bytes are zero when they are read again.
    pub(crate) fn decommit(&self, end: usize) {
        if end > 0
            && let Some(pages) = &self.mapped
        {
            let length = end.min(pages.length).next_multiple_of(rustix::param::page_size());
            // SAFETY: these pages are mapped, and their contents are not needed any more.
            let _ = unsafe {
                rustix::mm::madvise(pages.address.as_ptr().cast(), length, Advice::LinuxRemove)
            };
        }
    }
}

/// Requests huge pages for the spare capacity of a buffer, if it is so large that an allocator
/// takes it directly from the system and returns it on free. Faulting in small pages costs several
/// times as much as writing to them.
pub(crate) fn advise_huge_pages(buffer: &mut Vec<u8>) {
    /// glibc keeps smaller blocks, and the advice would stick to their memory.
    const MIN_LEN: usize = 32 << 20;
    let room = buffer.spare_capacity_mut();
    if room.len() <= MIN_LEN {
        return;
    }
    let page = rustix::param::page_size();
    let begin = room.as_mut_ptr().cast::<u8>();
    let skipped = begin.align_offset(page);
    let length = room.len().saturating_sub(skipped) / page * page;
    // SAFETY: these whole pages are within the spare capacity, which belongs to this buffer alone,
    // and the advice changes nothing that can be read or written there.
    let _ =
        unsafe { rustix::mm::madvise(begin.add(skipped).cast(), length, Advice::LinuxHugepage) };
}

/// Whether a file of this size can be created, and as much address space reserved. Returns `false`
/// if resource limits are set for these.
pub(crate) fn has_no_limit(bytes: u64) -> bool {
    let limit = |resource| rustix::process::getrlimit(resource).current;
    limit(Resource::As).is_none() && limit(Resource::Fsize).is_none_or(|most| most > bytes)
}

/// Whether a file of this size may be created. Trying to exceed the limit would end the program by
/// a signal.
pub(crate) fn is_file_allowed(bytes: u64) -> bool {
    let limit = rustix::process::getrlimit(Resource::Fsize).current;
    limit.is_none_or(|most| most >= bytes)
}

/// The layout that [`probe_sharing`] shares.
#[repr(C)]
struct Probe(AtomicU32);

// SAFETY: only an atomic, by repr(C); all zero is a valid value.
unsafe impl Shared for Probe {}

/// Tries everything that a page shared with another process needs. The error says what is denied.
pub(crate) fn probe_sharing() -> io::Result<()> {
    let (ours, fd) = Mapping::<Probe>::create(0)?;
    let (theirs, _) = Mapping::<Probe>::open(&fd)?;
    ours.0.store(1, Ordering::SeqCst);
    if theirs.0.load(Ordering::SeqCst) != 1 {
        return Err(io::Error::other("two mappings of a file differ"));
    }
    futex::probe(&theirs.0, 0)
}
