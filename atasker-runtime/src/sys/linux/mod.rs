//! The parts of `sys` for Linux.
//!
//! | file | uses |
//! |---|---|
//! | `descriptors` | flags that make descriptors close-on-exec when they are opened; eventfd |
//! | `futex` | futexes in shared memory |
//! | `image` | the auxiliary vector |
//! | `lifeline` | robust mutexes |
//! | `limits` | prctl, nice values of threads, `/proc/self/statm` |
//! | `mapping` | memfd |
//! | `parent` | SO_PEERCRED, pidfd, PR_SET_PDEATHSIG |
//! | `privileges` | AT_SECURE, file capabilities |
//! | `process` | `/proc/self/exe`, pidfd |
//! | `template` | clone3 with CLONE_PARENT, `/proc/self/task` |
//! | `threads` | `/proc/self/task` |
//! | `tree` | `/proc`, PR_SET_CHILD_SUBREAPER |
//! | `usage` | `/proc` |
//! | `wall_clock` | timerfd |

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
pub(crate) mod threads;
pub(crate) mod tree;
pub(crate) mod usage;
pub(crate) mod wall_clock;
