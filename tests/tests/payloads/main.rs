//! Tests of the values that cross between a program and its worker processes.

mod deep_nesting;
mod large_payloads;
mod wrong_lengths;
