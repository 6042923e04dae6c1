//! Tests of the protocol, over the broker in memory, with a paused clock.

mod cases;
mod dead;
mod encoding;
mod histories;
mod idle;
mod joins;
mod kept;
mod keys;
mod limits;
mod losses;
mod model;
mod runner;
mod speed;
mod verbs;
mod world;
