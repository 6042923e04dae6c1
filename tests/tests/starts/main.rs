//! Tests of programs that start under unusual conditions.

mod closed_streams;
mod constructors;
mod failures;
mod ignored_signals;
mod seccomp;
