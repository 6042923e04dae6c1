//! What is asked of the operating system, and nearly all `unsafe` code of the crate.
//!
//! | file | gives |
//! |---|---|
//! | `cpus` | whether two threads can run at once |
//! | `entry` | the hook that runs before `main`, and whether this code is the program itself |
//! | `mapping` | memory that a process and its worker both see |
//! | `link` | sockets, descriptors sent over them, bells |
//! | `reap` | watching, ending and burying a worker process |
//! | `tree` | ending what a process has started |
//! | `worker` | what a fresh worker process does to itself |
//! | `wall_clock` | hearing of it when the wall clock is set |
//! | `overflow` | telling a stack overflow from another crash |
//!
//! Every descriptor made here is close-on-exec. All functions are safe to call; those that must
//! not be called at any other time than a process's start say so.

#[cfg(not(target_os = "linux"))]
compile_error!("the feature `mp` of atasker (worker processes) is for Linux only");

pub(crate) mod cpus;
pub(crate) mod entry;
pub(crate) mod link;
pub(crate) mod mapping;
pub(crate) mod overflow;
pub(crate) mod reap;
pub(crate) mod tree;
pub(crate) mod wall_clock;
pub(crate) mod worker;
