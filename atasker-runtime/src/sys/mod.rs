//! The interface to the operating system, and nearly all `unsafe` code of the crate.
//!
//! | file | provides |
//! |---|---|
//! | `advice` | advice on the errors of the system |
//! | `cpus` | prefetching into the cache of a CPU |
//! | `entry` | the hook that runs before `main`, and whether this code is part of the executable |
//! | `exit` | functions that are called when the process exits |
//! | `fork` | detecting that this process is a copy made by `fork` |
//! | `host` | the name of this machine |
//! | `hooks` | the functions that worker processes run at their start and exit |
//! | `ipc` | sockets, descriptors sent over them, doorbells, futexes |
//! | `lifeline` | detecting the end of a thread, whatever caused it |
//! | `mapping` | memory shared with a worker process |
//! | `once` | values that are computed at their first use, without waiting |
//! | `overflow` | telling a stack overflow from another crash |
//! | `privileges` | whether this process has more privileges than its invoker |
//! | `reap` | starting, killing and reaping a worker process |
//! | `signals` | waiting for a signal that asks this process to end |
//! | `stack` | the remaining stack of a thread |
//! | `stdio` | keeping descriptors 0, 1 and 2 reserved for the standard streams |
//! | `threads` | the threads of this process |
//! | `tree` | killing the descendants of a process |
//! | `unsupported` | stubs for other platforms than Linux |
//! | `usage` | the memory and the CPU time of a process |
//! | `wall_clock` | notification when the wall clock is set |
//! | `worker` | what a new worker process does to itself |
//!
//! Every descriptor opened here is close-on-exec, and numbered above the standard streams. All
//! functions are safe to call. Functions that must only be called at the start of a process say so.
//!
//! The build script sets `sys_linux` by the target, and not by the features of the crate.

pub(crate) mod advice;
#[cfg(sys_linux)]
pub(crate) mod cpus;
#[cfg(sys_linux)]
pub(crate) mod entry;
#[cfg(unix)]
pub(crate) mod exit;
#[cfg(unix)]
pub(crate) mod fork;
#[cfg(sys_linux)]
pub(crate) mod hooks;
#[cfg(feature = "remote")]
pub(crate) mod host;
#[cfg(sys_linux)]
pub(crate) mod ipc;
#[cfg(sys_linux)]
pub(crate) mod lifeline;
#[cfg(sys_linux)]
pub(crate) mod mapping;
pub(crate) mod once;
#[cfg(sys_linux)]
pub(crate) mod overflow;
#[cfg(sys_linux)]
pub(crate) mod privileges;
#[cfg(sys_linux)]
pub(crate) mod reap;
#[cfg(all(unix, feature = "remote"))]
pub(crate) mod signals;
#[cfg(sys_linux)]
pub(crate) mod stack;
#[cfg(sys_linux)]
pub(crate) mod stdio;
#[cfg(sys_linux)]
pub(crate) mod threads;
#[cfg(sys_linux)]
pub(crate) mod tree;
#[cfg(sys_linux)]
pub(crate) mod usage;
#[cfg(sys_linux)]
pub(crate) mod wall_clock;
#[cfg(sys_linux)]
pub(crate) mod worker;

#[cfg(not(sys_linux))]
mod unsupported;
#[cfg(not(unix))]
pub(crate) use unsupported::exit;
#[cfg(not(sys_linux))]
#[allow(unused_imports, reason = "features use them")]
pub(crate) use unsupported::{entry, hooks, stack, threads, usage, wall_clock};
