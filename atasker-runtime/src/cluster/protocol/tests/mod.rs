//! Tests of the protocol, over the broker in memory.
