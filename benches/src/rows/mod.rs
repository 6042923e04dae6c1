//! The rows: what is measured.
//!
//! | file | rows |
//! |---|---|
//! | `threads` | T1 to T5, A1, A2 |
//! | `processes` | P1 to P4, T4p, PSS |
//! | `parallel` | M1 to M6, MP1 to MP6, C1, C2 |
//! | `jobs` | J1, J2 |
//! | `observed` | O1, O2 |
//! | `scale` | S1 to S6: this project only, at growing sizes |
//! | `latency` | latencies of single calls, as a curve |

pub mod jobs;
pub mod latency;
pub mod observed;
pub mod parallel;
pub mod plotted;
pub mod processes;
pub mod scale;
pub mod threads;

use crate::measure::Row;

/// All rows, in the order of the table.
pub fn all() -> Vec<Row> {
    let mut rows = threads::rows();
    rows.extend(processes::rows());
    rows.extend(parallel::rows());
    rows.extend(jobs::rows());
    rows.extend(observed::rows());
    rows.extend(scale::rows());
    rows
}
