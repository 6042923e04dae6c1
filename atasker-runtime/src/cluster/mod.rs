//! Other machines: calls that run on the nodes of a cluster, through a broker.

pub(crate) mod broker;
pub(crate) mod door;
/// The errors, which are part of the vocabulary of tasks.
pub(crate) use crate::cluster_error as error;
pub(crate) mod handle;
pub(crate) mod memory;
pub(crate) mod place;
pub(crate) mod protocol;
