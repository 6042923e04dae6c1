//! Configuration files: how the fields of a configuration are written and read.
//!
//! serde's derive does most of it. Here is what it does not know:
//!
//! | what | file |
//! |---|---|
//! | durations, as the attributes spell them | `duration` |
//! | limits of queues, as tables | `queue_limits` |
//! | values that the setters reject or change | `values`, by the rules in `rules` |
//!
//! `None` is written as the format's null, or left out where it has none (TOML). A format whose
//! structs have no field names (bincode, MessagePack) is written and read in the order of the
//! fields, without any left out.

pub(crate) mod duration;
pub(crate) mod queue_limits;
pub(crate) mod rules;
#[cfg(test)]
mod tests;
pub(crate) mod values;
