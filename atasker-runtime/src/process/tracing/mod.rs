//! Tracing across the boundary of processes: spans, events and log records of a worker process
//! reach the subscribers and the logger of the program.
//!
//! | concern | side | file |
//! |---|---|---|
//! | the subscriber of a worker process, its spans and callsites | worker | `worker` |
//! | the values of fields, encoded | both | `values` |
//! | opening, recording and closing spans, emitting events | parent | `parent` |
//! | the callsites that subscribers see | parent | `callsites` |
//! | what subscribers want, and telling the worker processes | parent | `filter` |
//! | records of the crate `log` | both | `log_records` |
//!
//! **A callsite** is described once by each worker process, then referred to by a number. The
//! parent registers it with its subscribers. If none of them ever wants what comes from there, the
//! worker process is told, and sends no more of it.
//!
//! **A span** has a number in its worker process. In the parent it is opened, recorded and closed,
//! and never entered, because the thread that does so runs none of its code. The spans that a
//! thread of the worker process has entered are known there only, so each span and event is sent
//! with its parent. Where it has none in the worker process, its parent is the span of the task.
//!
//! **The end of a call** closes the spans that the task has left open: the worker process reports
//! it before the reply. Where it does not, because it has died or is faulty, the parent closes them.
//!
//! **The thread** that reads from a worker process calls the subscribers. All spans and events of a
//! task have therefore reached them when the task ends. A subscriber that blocks holds up the
//! results of that worker process.

pub(super) mod callsites;
pub(super) mod filter;
#[cfg(feature = "log")]
mod log_records;
#[cfg(not(feature = "log"))]
#[path = "log_records/disabled.rs"]
mod log_records;
pub(super) mod parent;
mod values;
pub(super) mod worker;

#[cfg(test)]
pub(super) mod tests;

/// Entry points for `crate::fuzzed`.
#[cfg(fuzzing)]
pub(super) mod fuzzed {
    pub(crate) use super::values::properties::values;
}

use tracing_core::Level;
use tracing_core::metadata::LevelFilter;

use crate::wire::frame::MaxLevels;

/// The most callsites that are kept. More are not forwarded.
pub(super) const MAX_CALLSITES: usize = 10_000;
/// The longest description of a callsite in bytes.
pub(super) const MAX_DESCRIPTION: usize = 4096;
/// The most spans of a worker process that are open in the parent. More are not forwarded: what is
/// opened or emitted inside of them belongs to their parents.
pub(super) const MAX_OPEN_SPANS: usize = 1 << 16;

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// The number of a level: 1 error, .. 5 trace.
fn number(level: &Level) -> u8 {
    LEVELS.iter().position(|known| known == level).map_or(0, |index| index as u8 + 1)
}

/// The most verbose levels that a subscriber and the logger of this process want.
pub(super) fn max_levels() -> MaxLevels {
    MaxLevels {
        tracing: LevelFilter::current().into_level().as_ref().map_or(0, number),
        log: log_records::max_level(),
    }
}
