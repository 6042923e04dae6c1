//! Collections: functions that are gathered under names and run together, at the start of a
//! program, say.
//!
//! | question | file |
//! |---|---|
//! | in which order | `priority` |
//! | which functions there are | `functions` |
//! | those that `#[collect]` has gathered | `collected` |
//! | whose turn it is, when several want to run one function | `turn` |
//! | run in the caller's thread | `direct` |
//! | run as tasks | `tasks` |
//! | what came of it | `report` |

mod collected;
mod direct;
mod functions;
mod priority;
mod report;
mod tasks;
mod turn;

pub use collected::{Ask, COLLECTED, Collected, Collection, collected};
pub use direct::FunctionCollection;
pub use priority::CollectionPriority;
pub use report::CollectionReport;
pub use tasks::TaskCollection;
