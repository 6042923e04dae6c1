//! Tests of the protocol, over the broker in memory, with a paused clock.

mod cases;
mod encoding;
mod histories;
mod runner;
mod world;
