//! Stubs for the parts of `sys` that are needed on systems without worker processes. `portable` uses
//! some of them, too.

#[cfg(not(sys_processes))]
pub(crate) mod entry {
    /// Always false, because there are no worker processes.
    pub(crate) fn is_worker() -> bool {
        false
    }
}

/// For platforms other than Unix.
#[cfg(not(unix))]
pub(crate) mod exit {
    /// Does nothing on these platforms.
    pub(crate) fn at_exit(_: extern "C" fn()) {}
}

#[cfg(not(sys_processes))]
pub(crate) mod hooks {
    /// A function of the program that was passed to a pool of worker processes, and never runs.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Hook(());

    impl Hook {
        /// As on Linux: `None` for a value with a size, such as a function pointer.
        pub(crate) fn of<F: Fn() + Copy + Send + Sync + 'static>(_: F) -> Option<Hook> {
            (size_of::<F>() == 0).then_some(Hook(()))
        }
    }
}

#[cfg(not(sys_processes))]
pub(crate) mod stack {
    /// Returns an address on the stack of the caller.
    #[inline(always)]
    pub(crate) fn address() -> usize {
        let here = 0_u8;
        (&raw const here).addr()
    }

    /// Returns 0, because the remaining stack is unknown. Values are therefore decoded on a thread
    /// whose stack size is known.
    pub(crate) fn left() -> usize {
        0
    }
}

pub(crate) mod threads {
    /// Returns a number that is not 0.
    pub(crate) fn id() -> u32 {
        1
    }

    /// Returns `None`: it is unknown what a thread waits for.
    pub(crate) fn is_asleep(_id: u32) -> Option<bool> {
        None
    }
}

#[cfg_attr(not(feature = "dashboard"), allow(dead_code))]
pub(crate) mod usage {
    use std::time::Duration;

    /// What a process uses.
    pub(crate) struct Usage {
        pub(crate) resident: u64,
        pub(crate) cpu: Duration,
    }

    /// Returns `None`: it is unknown, or there are no worker processes.
    pub(crate) fn of(_pid: u32) -> Option<Usage> {
        None
    }
}

pub(crate) mod wall_clock {
    use std::io;

    /// These platforms do not tell when the wall clock is set.
    pub(crate) enum Watch {}

    impl Watch {
        pub(crate) fn new() -> io::Result<Option<Watch>> {
            Ok(None)
        }

        pub(crate) fn wait(&self) -> io::Result<()> {
            match *self {}
        }
    }
}
