//! Background tasks.
pub use atasker_runtime::*;
