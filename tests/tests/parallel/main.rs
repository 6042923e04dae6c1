//! Tests of scopes and of parallel maps.

mod map_deaths;
mod map_helpers;
mod map_processes;
mod map_threads;
mod scope_forks;
mod scope_nesting;
mod scope_on_aloop;
mod scope_races;
mod scope_results;
mod scope_waits;
