//! The parent's side of worker processes.
//!
//! | concern | file |
//! |---|---|
//! | starting a worker process | `spawn` |
//! | the handle of one worker process, which all threads share | `peer` |
//! | the bytes that wait to be written to it | `outgoing` |
//! | a process from which worker processes are forked | `template` |
//! | its calls, as the scheduler reaches them | `calls` |
//! | the thread that receives from it, and reaps it | `reader` |
//! | the end of a task whose call is over | `completion` |

pub(crate) mod calls;
pub(crate) mod completion;
mod outgoing;
pub(crate) mod peer;
pub(crate) mod reader;
pub(crate) mod spawn;
pub(crate) mod template;
