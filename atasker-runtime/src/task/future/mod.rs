//! Futures in the one allocation of their tasks, and the turns that a loop gives them.
//!
//! A future stands in its task's cell, in the body that has made it, and never moves: the cell is
//! behind an `Arc`. Its waker is the cell itself. A wake puts the task into the queue of its loop, once (`word`, `queue`); the loop's
//! drivers (in `aloop`) sleep while that is empty (`beds`), and give each task that they find there
//! a *turn*: one poll, or, where it was killed or the loop is at its end, its drop. So a future is
//! touched by the loop alone, from its first turn to its last.

mod beds;
#[cfg(all(test, atasker_loom))]
mod loom_tests;
#[cfg(feature = "async")]
pub(crate) mod queue;
#[cfg(feature = "async")]
mod turn;
#[cfg(feature = "async")]
mod turns;
mod word;

#[cfg(feature = "async")]
pub(crate) use turns::Turns;
