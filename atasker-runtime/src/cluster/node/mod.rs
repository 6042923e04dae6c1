//! Nodes: programs that run the calls of a cluster.
//!
//! A node has a supervisor of its own, whose tasks are the calls that it runs. The protocol decides
//! which calls it takes, and asks the node's [`Runner`](crate::cluster::door::Runner) for room.
//!
//! | concern | file |
//! |---|---|
//! | the settings of a node; beginning to serve; the public handle | `config`, `serve`, `handle` |
//! | the end of a node | `ended` |
//! | the runner: calls become tasks of the supervisor | `runner` |
//! | one run of a call, and what is told of it | `run` |
//! | the thread of the node, for commands to its tasks | `commands` |

mod commands;
mod config;
mod ended;
mod handle;
mod run;
mod runner;
mod serve;
#[cfg(all(test, has_processes, feature = "pre-main"))]
mod tests;

pub use config::NodeConfig;
pub use handle::Node;
