//! What travels between processes, as bytes: no descriptors, no threads.
//!
//! | part | file |
//! |---|---|
//! | how a value becomes bytes: bincode, msgpack | `codec` |
//! | where these bytes stand: few of them without an allocation | `encoded` |
//! | which arguments are borrowed, owned, or one block of bytes | `args` |
//! | a reply that is being made | `reply` |
//! | large buffers that serve again | `spare` |
//! | messages and their framing | `frame` |

pub(crate) mod args;
pub(crate) mod codec;
pub(crate) mod encoded;
pub(crate) mod frame;
pub(crate) mod reply;
pub(crate) mod spare;
