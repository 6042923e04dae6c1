//! Stands in for forking worker processes from a template, which has no portable way: a process can
//! make children only for itself. `Process::adopt`, `Process::reap_with_group` and
//! `Parent::follow_again` are never called.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;

use crate::sys::system::lifeline::Lifeline;

/// Whether this system can fork worker processes from a template.
pub(crate) const CAN_FORK: bool = false;

/// There is none.
pub(crate) struct Forker(Infallible);

#[allow(dead_code, reason = "nothing is forked")]
pub(crate) enum Forked {
    Original(OwnedFd),
    Copy,
}

impl Forker {
    pub(crate) fn new() -> Result<Forker, String> {
        Err("this system has no templates".into())
    }

    pub(crate) fn fork(&self) -> io::Result<Forked> {
        match self.0 {}
    }
}

pub(crate) fn hold_still(_other: Option<&Lifeline>) -> ! {
    loop {
        std::thread::park();
    }
}

/// Nothing is compared.
#[derive(PartialEq)]
pub(crate) struct Inherited;

impl Inherited {
    pub(crate) fn now() -> Inherited {
        Inherited
    }
}

pub(crate) fn replace_stream(_to: libc::c_int, _by: &OwnedFd) -> io::Result<()> {
    Ok(())
}

pub(crate) fn flush_c_streams() {}

pub(crate) fn random() -> u64 {
    0
}

/// The title of this process, which is never changed.
#[derive(Clone, Copy)]
pub(crate) struct Title;

impl Title {
    pub(crate) fn find() -> Option<Title> {
        None
    }

    pub(crate) fn set(self, _title: &str) {}
}
