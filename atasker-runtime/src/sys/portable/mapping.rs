//! Stands in for memory that the parent and a worker process share. There is only the page, in
//! memory of this process alone: see `process::transport::sockets`.

use std::io;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, OwnedFd};

/// Whether this system may have memory that two processes share, and futexes in it.
pub(crate) const CAN_SHARE: bool = false;

/// A layout that is all atomics.
///
/// # Safety
/// All fields must be atomics (or arrays of them), laid out by `repr(C)`, and all bytes zero must
/// be a valid value of the type.
pub(crate) unsafe trait Shared: Sync + 'static {}

/// A `T` in memory of this process.
pub(crate) struct Mapping<T: Shared>(Box<T>);

impl<T: Shared> Mapping<T> {
    /// Used for sizes of regions, and there are none.
    pub(crate) const LENGTH: usize = 0;

    pub(crate) fn create(_more: usize) -> io::Result<(Self, OwnedFd)> {
        Err(not_shared())
    }

    pub(crate) fn open(_fd: impl AsFd) -> io::Result<(Self, usize)> {
        Err(not_shared())
    }

    /// Creates a `T` in memory of this process alone.
    pub(crate) fn private() -> io::Result<Self> {
        let mut zeroed = Box::<T>::new_uninit();
        // SAFETY: all bytes zero are a valid value: see `Shared`. The box has room for one.
        unsafe {
            zeroed.as_mut_ptr().write_bytes(0, 1);
            Ok(Mapping(zeroed.assume_init()))
        }
    }

    /// Does nothing: a copy made by `fork` has a page of its own, which no process reads.
    pub(crate) fn exclude_from_forks(&self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: Shared> Deref for Mapping<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

fn not_shared() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "no memory is shared on this system")
}

/// What a process may do with a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// A region without memory. Nothing can be mapped, so the other methods are never called.
pub(crate) struct Region(());

impl Region {
    pub(crate) fn new(_: Range<usize>, _: Access) -> Self {
        Region(())
    }

    pub(crate) fn map_all(&mut self, _fd: impl AsFd) -> io::Result<()> {
        Err(not_shared())
    }

    pub(crate) fn ensure_mapped(&mut self, _fd: impl AsFd, _end: usize) -> io::Result<()> {
        Err(not_shared())
    }

    pub(crate) fn write(&mut self, _at: usize, _bytes: &[u8]) {
        unreachable!("nothing is mapped")
    }

    pub(crate) fn read(&self, _at: usize, _length: usize) -> Vec<u8> {
        unreachable!("nothing is mapped")
    }

    /// # Safety
    /// As on Linux.
    pub(crate) unsafe fn borrow(&self, _at: usize, _length: usize) -> &[u8] {
        unreachable!("nothing is mapped")
    }

    /// Does nothing, because there is no memory.
    pub(crate) fn decommit(&self, _end: usize) {}
}

/// Does nothing on these systems.
pub(crate) fn advise_huge_pages(_: &mut Vec<u8>) {}

/// Always false, because there are no regions.
pub(crate) fn has_no_limit(_bytes: u64) -> bool {
    false
}

/// Always true, because no file is created.
pub(crate) fn is_file_allowed(_bytes: u64) -> bool {
    true
}

/// Always an error.
pub(crate) fn probe_sharing() -> io::Result<()> {
    Err(not_shared())
}
