//! Notification when the wall clock is set.

use std::io;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::sys::stdio;

/// A kernel timer that never expires, but is canceled when the wall clock is set.
pub(crate) struct Watch(std::os::fd::OwnedFd);

impl Watch {
    /// Returns `None` on platforms that do not tell when the wall clock is set.
    pub(crate) fn new() -> io::Result<Option<Watch>> {
        let fd = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
        let watch = Watch(stdio::above_stdio(fd)?);
        watch.arm()?;
        Ok(Some(watch))
    }

    fn arm(&self) -> io::Result<()> {
        // In the year 2191.
        let never = Timespec { tv_sec: 7_000_000_000, tv_nsec: 0 };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let timer = Itimerspec { it_interval: none, it_value: never };
        match timerfd_settime(&self.0, flags, &timer) {
            // The clock was set at this moment. The caller reads the clock after arming, so nothing
            // is missed.
            Ok(_) | Err(rustix::io::Errno::CANCELED) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks until the wall clock has been set.
    pub(crate) fn wait(&self) -> io::Result<()> {
        loop {
            match rustix::io::read(&self.0, &mut [0; 8]) {
                Err(rustix::io::Errno::CANCELED) => return self.arm(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                // Waiting again would return at once, in a busy loop.
                Ok(_) => return Err(io::Error::other("the timer has ended")),
            }
        }
    }
}
