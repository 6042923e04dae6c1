//! The parts of `sys` for other Unix systems, by calls that POSIX has or all of them share: macOS and
//! FreeBSD. `--cfg atasker_portable` builds them on Linux, where the tests run them.
//!
//! | file | how it works without what Linux has |
//! |---|---|
//! | `descriptors` | close-on-exec is set after a descriptor is opened; a doorbell is a pipe |
//! | `futex` | never used, because no memory is shared |
//! | `image` | the path of the executable, which must still be the same file |
//! | `lifeline` | waits for the thread as `join` does |
//! | `limits` | limits of resources |
//! | `mapping` | private memory: calls go over sockets |
//! | `parent` | the owner of the socket, its end, and the pid of the parent |
//! | `privileges` | `issetugid` |
//! | `process` | a thread waits for each worker process; signals by pid, under the lock that reaps |
//! | `template` | not at all: no system call makes a child of another process |
//! | `threads`, `usage`, `wall_clock` | unknown |
//! | `tree` | nothing: the process group is killed |

pub(crate) mod descriptors;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod lifeline;
pub(crate) mod limits;
pub(crate) mod mapping;
pub(crate) mod parent;
pub(crate) mod privileges;
pub(crate) mod process;
pub(crate) mod template;
pub(crate) mod tree;

pub(crate) use crate::sys::unsupported::{threads, usage, wall_clock};
