//! Collections: named functions that are run together, for example at the start of a program.
//!
//! | question | file |
//! |---|---|
//! | the order of the functions | `priority` |
//! | exclusive runs of a function | `reentrancy` |
//! | the table of the functions with `#[collect]` | `table` |
//! | the functions of a collection | `functions` |
//! | which collection a function with `#[collect]` belongs to | `collected` |
//! | what both kinds of collections have in common | `methods` |
//! | running in the caller's thread | `direct` |
//! | running as tasks | `tasks` |
//! | the results | `report` |

mod collected;
mod direct;
mod functions;
mod methods;
mod priority;
mod reentrancy;
mod report;
mod table;
mod tasks;

pub use collected::{Collection, collected};
pub use direct::FunctionCollection;
pub use priority::CollectionPriority;
pub use report::CollectionReport;
pub use table::{COLLECTED, CollectedFn, Probe};
pub use tasks::TaskCollection;
