//! What is measured.

mod jobs;
mod processes;
mod threads;

use crate::measure::Row;

/// All rows, in the order of the table.
pub fn all() -> Vec<Row> {
    let mut rows = threads::rows();
    rows.extend(processes::rows());
    rows.extend(jobs::rows());
    rows
}
