//! Tests of what a supervisor reports: observers, and the counts of its snapshots.

mod counts;
mod observer_processes;
mod observer_rules;
mod observers;
mod recorder;
mod snapshots;
