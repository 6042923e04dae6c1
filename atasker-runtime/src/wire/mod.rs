//! The encoding of what is sent between processes. Pure: no descriptors, no threads.
//!
//! | concern | file |
//! |---|---|
//! | how values are encoded: bincode, MessagePack | `codec`, `msgpack` |
//! | how much memory, time and stack a value may cost | `bounded` |
//! | how deeply a value may be nested, and on which thread it is decoded | `nesting` |
//! | where encoded bytes are stored: short ones without an allocation | `payload` |
//! | which arguments are borrowed, owned, or one block of bytes | `args` |
//! | results of which only the type is known | `any_result` |
//! | a reply under construction | `reply` |
//! | large buffers that are reused | `buffer_pool` |
//! | messages, their fields, and frames out of a stream of bytes | `frame`, `field`, `framing` |

#[cfg(feature = "remote")]
pub(crate) mod any_result;
pub(crate) mod args;
mod bounded;
pub(crate) mod buffer_pool;
pub(crate) mod codec;
pub(crate) mod field;
pub(crate) mod frame;
pub(crate) mod framing;
mod msgpack;
pub(crate) mod nesting;
pub(crate) mod payload;
pub(crate) mod reply;
