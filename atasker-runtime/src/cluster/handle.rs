//! The public handle of a cluster.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// A cluster that this program has connected to.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) inner: Arc<Infallible>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.inner {}
    }
}
