//! Memory that a process and its worker process both see.

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// A layout that both processes may read and write at any time.
///
/// # Safety
/// All fields are atomics (or arrays of them), laid out by `repr(C)`, and all bytes zero are a
/// value of the type.
pub(crate) unsafe trait Shared: Sync + 'static {}

/// A mapped `T`.
pub(crate) struct Mapping<T: Shared> {
    address: NonNull<T>,
    _maps: PhantomData<T>,
}

// SAFETY: a mapping gives out shared references only, and `T` is Sync.
unsafe impl<T: Shared> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapping<T> {}

impl<T: Shared> Mapping<T> {
    /// New memory, all zero, and the descriptor that another process maps it by.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("atasker", flags)?;
        rustix::fs::ftruncate(&fd, size_of::<T>() as u64)?;
        // Nobody can shrink it: reading a mapping past the end of its file would be SIGBUS.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Ok((Self::map(&fd)?, fd))
    }

    /// Maps what another process has made.
    pub(crate) fn open(fd: impl AsFd) -> io::Result<Self> {
        let length = rustix::fs::fstat(&fd)?.st_size;
        if length != size_of::<T>() as i64 {
            return Err(io::Error::other("the shared page has another size"));
        }
        let mapping = Self::map(fd)?;
        // A task may fork, and its copy may come back from the task's function, too: it must not
        // answer for this process, nor take its next call.
        // SAFETY: the advice is for forks only; it changes nothing in this process.
        unsafe {
            let address = mapping.address.as_ptr().cast();
            rustix::mm::madvise(address, size_of::<T>(), Advice::LinuxDontFork)?;
        }
        Ok(mapping)
    }

    fn map(fd: impl AsFd) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
        let address = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), size_of::<T>(), access, MapFlags::SHARED, fd, 0)?
        };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { address, _maps: PhantomData })
    }
}

impl<T: Shared> Deref for Mapping<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the mapping is as large as `T`, lives as long as `self`, is aligned to a page,
        // and holds a valid `T` whatever anybody writes there: see `Shared`.
        unsafe { self.address.as_ref() }
    }
}

impl<T: Shared> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), size_of::<T>()) };
        debug_assert!(unmapped.is_ok());
    }
}
