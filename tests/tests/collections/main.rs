//! Tests of collections of functions and tasks.

mod collect_attribute;
mod execution;
