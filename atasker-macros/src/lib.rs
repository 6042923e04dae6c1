//! The attributes of atasker. Use them through the `atasker` crate.
