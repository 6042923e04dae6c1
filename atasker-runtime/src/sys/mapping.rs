//! Memory that a process and its worker process both see: one file without a name, which begins
//! with a [`Mapping`] and goes on with bytes, the [`Area`]s.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::process::Resource;

use crate::sys::link;

/// A layout that both processes may read and write at any time.
///
/// # Safety
/// All fields are atomics (or arrays of them), laid out by `repr(C)`, and all bytes zero are a
/// value of the type.
pub(crate) unsafe trait Shared: Sync + 'static {}

/// A mapped `T`.
pub(crate) struct Mapping<T: Shared> {
    bytes: Pages,
    _maps: PhantomData<T>,
}

impl<T: Shared> Mapping<T> {
    /// New memory, all zero: a `T` and so many bytes behind it, and the descriptor that another
    /// process maps it by.
    pub(crate) fn create(more: usize) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("atasker", flags)?;
        rustix::fs::ftruncate(&fd, (Self::LENGTH + more) as u64)?;
        // Nobody can shrink it: reading a mapping past the end of its file would be SIGBUS.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Ok((Self::map(&fd)?, fd))
    }

    /// Maps what another process has made. How many bytes there are behind it.
    pub(crate) fn open(fd: impl AsFd) -> io::Result<(Self, usize)> {
        let length = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
        let Some(more) = length.checked_sub(Self::LENGTH) else {
            return Err(io::Error::other("the shared page has another size"));
        };
        Ok((Self::map(fd)?, more))
    }

    /// A `T` in memory of this process alone.
    pub(crate) fn own() -> io::Result<Self> {
        Ok(Mapping { bytes: Pages::own(Self::LENGTH)?, _maps: PhantomData })
    }

    /// The copies of this process that a fork makes don't have it.
    pub(crate) fn keep_from_forks(&self) -> io::Result<()> {
        self.bytes.keep_from_forks()
    }

    /// Of the file, so much; the areas begin behind it.
    pub(crate) const LENGTH: usize = size_of::<T>().next_multiple_of(1 << 16);

    fn map(fd: impl AsFd) -> io::Result<Self> {
        Ok(Mapping { bytes: Pages::map(fd, 0..Self::LENGTH, true)?, _maps: PhantomData })
    }
}

impl<T: Shared> Deref for Mapping<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the mapping is as large as `T`, lives as long as `self`, is aligned to a page,
        // and holds a valid `T` whatever anybody writes there: see `Shared`.
        unsafe { self.bytes.address.cast::<T>().as_ref() }
    }
}

/// Mapped pages of a file that can't shrink.
struct Pages {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: nothing is accessed through it but by those who hold it, and they say what they may do.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    fn map(fd: impl AsFd, range: Range<usize>, write: bool) -> io::Result<Self> {
        let access = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let (length, offset) = (range.len(), range.start as u64);
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
        let address = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, fd, offset)?
        };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Pages { address, length })
    }

    /// Memory that is no file's.
    fn own(length: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
        let address = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, access, MapFlags::PRIVATE)?
        };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Pages { address, length })
    }

    /// A task may fork, and its copy may come back from the task's function, too: it must not
    /// answer for this process, nor take its next call.
    fn keep_from_forks(&self) -> io::Result<()> {
        // SAFETY: the advice is for forks only; it changes nothing in this process.
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
        // SAFETY: it was mapped with this length, and nothing outlives `self` that points there.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Bytes that one process writes and another one reads: a part of a file, of which as much is mapped
/// as was needed so far.
pub(crate) struct Area {
    /// Where it stands in the file.
    range: Range<usize>,
    write: bool,
    mapped: Option<Pages>,
}

impl Area {
    pub(crate) fn new(range: Range<usize>, write: bool) -> Self {
        Area { range, write, mapped: None }
    }

    /// Maps all of it: what is needed later is there.
    pub(crate) fn map_whole(&mut self, fd: impl AsFd) -> io::Result<()> {
        let pages = Pages::map(fd, self.range.clone(), self.write)?;
        // What can only be read is left to forks: a task may lend it to its copy.
        if self.write {
            pages.keep_from_forks()?;
        }
        self.mapped = Some(pages);
        Ok(())
    }

    /// Sees to it that its first `end` bytes are mapped.
    pub(crate) fn reach(&mut self, fd: impl AsFd, end: usize) -> io::Result<()> {
        /// Less is not worth a call.
        const STEP: usize = 1 << 20;
        if self.mapped.as_ref().is_some_and(|pages| end <= pages.length) {
            return Ok(());
        }
        if end > self.range.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = end.next_power_of_two().max(STEP).min(self.range.len());
        let range = self.range.start..self.range.start + length;
        self.mapped = Some(Pages::map(fd, range, self.write)?);
        Ok(())
    }

    fn mapped(&self, at: usize, length: usize) -> *mut u8 {
        let pages = self.mapped.as_ref().filter(|pages| pages.within(at, length));
        let pages = pages.expect("what is used of an area is mapped");
        // SAFETY: `at` is within the mapping.
        unsafe { pages.address.as_ptr().add(at) }
    }

    /// Copies bytes in. What was reached is mapped.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        assert!(self.write);
        let to = self.mapped(at, bytes.len());
        // SAFETY: `to` is mapped, writable and as long as `bytes`, which is ordinary memory of this
        // process. No reference points there: this process only writes there. Should the other process
        // write at the same time against the rules, then nobody can say what it reads.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies bytes out, into a buffer of their own.
    pub(crate) fn copy(&self, at: usize, length: usize) -> Vec<u8> {
        let from = self.mapped(at, length);
        let mut bytes = Vec::with_capacity(length);
        on_large_pages(&mut bytes);
        // SAFETY: `from` is mapped for `length` bytes, and the buffer has as much room. The file can't
        // shrink, so there is a page behind every byte. No reference points there, so a worker that
        // writes meanwhile, against the rules, spoils these bytes and nothing else: any bytes are valid.
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length);
            bytes.set_len(length);
        }
        bytes
    }

    /// Bytes in their place.
    ///
    /// # Safety
    /// Nobody writes there as long as they are borrowed.
    pub(crate) unsafe fn lend(&self, at: usize, length: usize) -> &[u8] {
        // SAFETY: it is mapped for so many bytes, as long as `self`; and the caller's promise.
        unsafe { std::slice::from_raw_parts(self.mapped(at, length), length) }
    }

    /// Gives the memory of the first `end` bytes, which are mapped, back to the system: for this
    /// process and the other one. They are zero when they are read again.
    pub(crate) fn forget(&self, end: usize) {
        if end > 0
            && let Some(pages) = &self.mapped
        {
            let length = end.min(pages.length).next_multiple_of(rustix::param::page_size());
            // SAFETY: these pages are mapped, and hold nothing that anybody still wants.
            let _ = unsafe {
                rustix::mm::madvise(pages.address.as_ptr().cast(), length, Advice::LinuxRemove)
            };
        }
    }
}

/// Has the system give large pages to the room that a buffer has left, where that is so much that an
/// allocator takes it fresh from the system and gives it back at once: page by page this costs several
/// times as much as writing to it.
pub(crate) fn on_large_pages(buffer: &mut Vec<u8>) {
    /// glibc keeps smaller ones, and what is advised would stay so.
    const FRESH: usize = 32 << 20;
    let room = buffer.spare_capacity_mut();
    if room.len() <= FRESH {
        return;
    }
    let page = rustix::param::page_size();
    let begin = room.as_mut_ptr().cast::<u8>();
    let skipped = begin.align_offset(page);
    let length = room.len().saturating_sub(skipped) / page * page;
    // SAFETY: these whole pages are within the room, which is this buffer's alone, and the advice changes
    // nothing that can be read or written there.
    let _ =
        unsafe { rustix::mm::madvise(begin.add(skipped).cast(), length, Advice::LinuxHugepage) };
}

/// Whether a file of so many bytes can be made, and address space be spared for it: not where somebody
/// has set limits to these.
pub(crate) fn is_unlimited(bytes: u64) -> bool {
    let limit = |resource| rustix::process::getrlimit(resource).current;
    limit(Resource::As).is_none() && limit(Resource::Fsize).is_none_or(|most| most > bytes)
}

/// Whether a file of so many bytes can be made: to try it where it can't would end the program.
pub(crate) fn is_allowed(bytes: u64) -> bool {
    let limit = rustix::process::getrlimit(Resource::Fsize).current;
    limit.is_none_or(|most| most >= bytes)
}

/// What [`try_sharing`] shares.
#[repr(C)]
struct Trial(AtomicU32);

// SAFETY: only an atomic, by repr(C); all zero is a value.
unsafe impl Shared for Trial {}

/// Tries all that a page shared with another process needs; the error says what is denied.
pub(crate) fn try_sharing() -> io::Result<()> {
    let (ours, fd) = Mapping::<Trial>::create(0)?;
    let (theirs, _) = Mapping::<Trial>::open(&fd)?;
    ours.0.store(1, Ordering::SeqCst);
    if theirs.0.load(Ordering::SeqCst) != 1 {
        return Err(io::Error::other("two mappings of a file differ"));
    }
    link::try_sleep(&theirs.0, 0)
}

/// Whether there was too little of something, which says nothing about what is possible.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR))
}
