//! Tests of the parity with the Python libraries.

mod helpers;
mod python_parity;
