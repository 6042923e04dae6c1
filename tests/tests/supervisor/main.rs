//! Tests of the end of a supervisor.

mod drop;
mod race_stop_begin;
mod stop;
