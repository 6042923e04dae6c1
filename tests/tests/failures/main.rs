//! Tests of tasks that fail: errors, retries and time limits.

mod error_patterns;
mod errors;
mod panic_locations;
mod remote_error;
mod retries;
mod time_limits;
