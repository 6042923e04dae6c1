//! Other machines: calls that run on the nodes of a cluster, through a broker.

pub(crate) mod broker;
pub(crate) mod door;
