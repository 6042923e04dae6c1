//! What travels between processes: bytes only, no descriptors, no threads.

pub(crate) mod frame;
