//! Detects the end of a thread of this process, whatever caused it.
//!
//! The thread holds a robust mutex while it lives. If the thread returns, calls the `exit` system
//! call for itself alone, or is killed by a seccomp filter, then the kernel marks the mutex as one
//! with a dead owner, and wakes the thread that waits for it. No destructor has to run, and nothing
//! is polled.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;

/// A robust mutex held by the watched thread. See the module documentation.
pub(crate) struct Lifeline(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is made to be used by several threads, through its own calls alone. It is
// initialized before it is shared, and never moved or destroyed.
unsafe impl Sync for Lifeline {}

impl Lifeline {
    /// Creates a lifeline that the calling thread holds from now on.
    pub(crate) fn hold() -> io::Result<&'static Lifeline> {
        // SAFETY: all zero is valid memory for the calls below to initialize.
        let zeroed = unsafe { MaybeUninit::<libc::pthread_mutex_t>::zeroed().assume_init() };
        let lifeline: &'static Lifeline = Box::leak(Box::new(Lifeline(UnsafeCell::new(zeroed))));
        // SAFETY: the attributes are initialized by the first call, and destroyed at the end. The
        // mutex is never moved, and no other thread has access to it yet.
        unsafe {
            let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::zeroed().assume_init();
            let steps = [
                libc::pthread_mutexattr_init(&mut attributes),
                libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST),
                libc::pthread_mutex_init(lifeline.0.get(), &attributes),
                libc::pthread_mutex_lock(lifeline.0.get()),
                libc::pthread_mutexattr_destroy(&mut attributes),
            ];
            match steps.into_iter().find(|step| *step != 0) {
                Some(error) => Err(io::Error::from_raw_os_error(error)),
                None => Ok(lifeline),
            }
        }
    }

    /// Blocks until the thread that holds it has ended. Returns `false` if waiting failed.
    pub(crate) fn wait(&self) -> bool {
        // SAFETY: the mutex is initialized, and never destroyed.
        let locked = unsafe { libc::pthread_mutex_lock(self.0.get()) };
        locked == libc::EOWNERDEAD
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn end_without_destructors_is_detected() {
        let (send, receive) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            send.send(Lifeline::hold().unwrap()).unwrap();
            wait.recv().unwrap();
            // SAFETY: this thread holds nothing that other threads wait for, except the lifeline.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        });
        let lifeline = receive.recv().unwrap();
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || ended.send(lifeline.wait()).unwrap());
        assert_eq!(end.try_recv(), Err(mpsc::TryRecvError::Empty));
        go.send(()).unwrap();
        assert!(end.recv().unwrap());
    }
}
