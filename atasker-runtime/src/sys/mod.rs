//! The interface to the operating system, and nearly all `unsafe` code of the crate.
//!
//! Parts of every system, with a stub in `unsupported` where there is nothing to do:
//!
//! | file | provides |
//! |---|---|
//! | `advice` | advice on the errors of the system |
//! | `errno` | the number of the last error |
//! | `exit` | functions that are called when the process exits |
//! | `fork` | detecting that this process is a copy made by `fork` |
//! | `host` | the name of this machine |
//! | `monotonic` | the clock that all processes of a machine share |
//! | `once` | values that are computed at their first use, without waiting |
//! | `signals` | waiting for a signal that asks this process to end |
//!
//! Parts of systems with worker processes (`sys_processes`), by calls that all of them have:
//!
//! | file | provides |
//! |---|---|
//! | `copy` | the command that starts a copy of this program |
//! | `cpus` | prefetching into the cache of a CPU |
//! | `elf` | the executable, as the loader describes it on systems with ELF files |
//! | `entry` | the hook that runs before `main`, and whether this code is part of the executable |
//! | `hooks` | the functions that worker processes run at their start and exit |
//! | `ipc` | reading, writing and waiting; descriptors sent over sockets |
//! | `overflow` | telling a stack overflow from another crash |
//! | `reap` | causes of death |
//! | `stack` | the remaining stack of a thread |
//! | `stdio` | keeping descriptors 0, 1 and 2 reserved for the standard streams |
//! | `worker` | what a new worker process does to itself |
//!
//! What differs is in `linux` and in `portable`, which have the same modules. **To add a system**, make
//! these work there, beginning with `portable` (the first column says what it must promise), and add
//! its name to the build script:
//!
//! | module | promises |
//! |---|---|
//! | `descriptors` | `pair`, `pipe`: connected, close-on-exec; `Doorbell`: rung from any thread without blocking, and polled |
//! | `futex` | sleeping on a word in shared memory; unused where `mapping::CAN_SHARE` is false |
//! | `image` | `main_program`: whether this code is part of the executable, and where; `constructors_behind` the hook; `record_program` at the start |
//! | `lifeline` | detecting the end of a thread, whatever caused it |
//! | `limits` | the address space, permission to lower the nice value, no core files |
//! | `mapping` | memory shared with a worker process; or `CAN_SHARE` is false, and `Mapping::private` suffices |
//! | `parent` | `creator` of a socket, which an invoker can't forge; `Parent::wait_for_bytes` ends with the parent |
//! | `privileges` | whether this process or a copy of it has more privileges than its invoker |
//! | `process` | `spawn_copy` in an own process group; `Process::end` is readable after its end; `kill` and `reap` never reach another process |
//! | `template` | forking a process that becomes a child of its parent; or `CAN_FORK` is false |
//! | `threads` | whether a thread sleeps; may be unknown |
//! | `tree` | killing the descendants of a worker that ends; may do nothing |
//! | `usage` | the memory and the CPU time of a process; may be unknown |
//! | `wall_clock` | notification when the wall clock is set; may be unknown |
//!
//! Every descriptor opened here is close-on-exec, and numbered above the standard streams. All
//! functions are safe to call. Functions that must only be called at the start of a process say so.
//!
//! The build script sets `sys_linux` or `sys_portable`, and with either `sys_processes`, by the target
//! and not by the features of the crate. `--cfg atasker_portable` chooses `portable` on Linux, which
//! then makes none of the calls that only Linux has.

pub(crate) mod advice;
#[cfg(sys_processes)]
mod copy;
#[cfg(sys_processes)]
pub(crate) mod cpus;
#[cfg(all(sys_processes, not(target_vendor = "apple")))]
mod elf;
#[cfg(sys_processes)]
pub(crate) mod entry;
#[cfg(unix)]
mod errno;
#[cfg(unix)]
pub(crate) mod exit;
#[cfg(unix)]
pub(crate) mod fork;
#[cfg(sys_processes)]
pub(crate) mod hooks;
#[cfg(feature = "remote")]
pub(crate) mod host;
#[cfg(sys_processes)]
pub(crate) mod ipc;
#[cfg(unix)]
#[cfg_attr(not(any(target_os = "linux", sys_processes)), allow(dead_code))]
pub(crate) mod monotonic;
pub(crate) mod once;
#[cfg(sys_processes)]
pub(crate) mod overflow;
#[cfg(sys_processes)]
pub(crate) mod reap;
#[cfg(all(unix, feature = "remote"))]
pub(crate) mod signals;
#[cfg(sys_processes)]
pub(crate) mod stack;
pub(crate) mod static_str;
#[cfg(sys_processes)]
pub(crate) mod stdio;
#[cfg(sys_processes)]
pub(crate) mod worker;

#[cfg(sys_linux)]
mod linux;
#[cfg(sys_linux)]
use linux as system;
#[cfg(sys_portable)]
mod portable;
#[cfg(sys_portable)]
use portable as system;
#[cfg(sys_processes)]
#[cfg_attr(not(feature = "dashboard"), allow(unused_imports))]
pub(crate) use system::usage;
#[cfg(sys_processes)]
#[cfg_attr(not(feature = "mp"), allow(unused_imports))]
pub(crate) use system::{lifeline, mapping, template, threads, tree, wall_clock};

#[cfg(not(sys_linux))]
mod unsupported;
#[cfg(all(not(unix), feature = "progress"))]
pub(crate) use unsupported::exit;
#[cfg(not(sys_processes))]
#[allow(unused_imports, reason = "features use them")]
pub(crate) use unsupported::{entry, hooks, stack, threads, usage, wall_clock};
