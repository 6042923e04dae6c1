//! Tests of limits that tasks share.

mod across_pools;
mod concurrency;
mod in_processes;
mod keyed;
mod nested;
mod rate;
