//! The settings of a node.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::observe::spans::Spans;
use crate::options::PoolConfig;
use crate::process::MpPoolConfig;
use crate::task::elsewhere::DEFAULT_QUEUE;

/// The settings of a node: where calls run, and which ones it takes.
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use atasker::{MpPoolConfig, NodeConfig, PoolConfig};
/// // Calls run in up to eight worker processes, two more for urgent ones.
/// let config = NodeConfig::new(MpPoolConfig::new(8).reserve_high(2)).queues(["default", "gpu"]);
/// // Calls run on threads of this process.
/// let config = NodeConfig::threads(PoolConfig::new(4)).name("cache");
/// ```
///
/// A node takes a call when a slot for it is free: critical ones at once, then those of the highest
/// priority that the slot is good for, first come first served.
///
/// In a configuration file, the fields are `name`, `queues`, `prefetch`, `spans`, and one of the tables
/// `mp_pool` and `thread_pool`, with the fields of [`MpPoolConfig`] and [`PoolConfig`].
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use atasker::{MpPoolConfig, NodeConfig};
/// let config: NodeConfig = toml::from_str("queues = ['gpu']\nmp_pool.pool_size = 2")?;
/// let mut pool = MpPoolConfig::default();
/// pool.pool_size = 2;
/// assert_eq!(config, NodeConfig::new(pool).queues(["gpu"]));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
#[must_use = "a configuration does nothing until it is given to `Cluster::serve`"]
pub struct NodeConfig {
    pub(super) pool: Pool,
    pub(super) name: Option<String>,
    pub(super) queues: BTreeSet<String>,
    pub(super) prefetch: Option<usize>,
    pub(super) spans: Option<Spans>,
}

/// Where calls run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pool {
    Processes(MpPoolConfig),
    Threads(PoolConfig),
}

impl NodeConfig {
    /// Creates the configuration of a node that runs calls in worker processes, with the slots,
    /// reserves, limits and isolation of this pool.
    pub fn new(pool: MpPoolConfig) -> Self {
        Self::with(Pool::Processes(pool))
    }

    /// Creates the configuration of a node that runs calls on threads of this process, for functions
    /// that need its memory.
    ///
    /// A panic of a function is an error of its call, as everywhere. A crash takes the node along:
    /// its calls are lost, and run on other nodes. `kill` is not supported.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{NodeConfig, PoolConfig};
    /// let config = NodeConfig::threads(PoolConfig::new(4));
    /// ```
    pub fn threads(pool: PoolConfig) -> Self {
        Self::with(Pool::Threads(pool))
    }

    fn with(pool: Pool) -> Self {
        let queues = BTreeSet::from([DEFAULT_QUEUE.to_owned()]);
        NodeConfig { pool, name: None, queues, prefetch: None, spans: None }
    }

    /// Sets the name of the node (default: the name of the host). It is shown where calls are shown,
    /// and need not be unique.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, NodeConfig};
    /// let config = NodeConfig::new(MpPoolConfig::new(2)).name("renderer-1");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the queues that the node serves (default: `["default"]`). It takes calls of these queues
    /// only.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, NodeConfig};
    /// let config = NodeConfig::new(MpPoolConfig::new(2)).queues(["gpu", "default"]);
    /// ```
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how many calls the node takes in advance while all its slots are busy, at most.
    ///
    /// By default, it does so only for calls that take less than about 5 ms, and takes as many as
    /// are likely to end within about 20 ms. With 0 it takes a call only when a slot for it is free.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, NodeConfig};
    /// let config = NodeConfig::new(MpPoolConfig::new(2)).prefetch(0);
    /// ```
    pub fn prefetch(mut self, calls: usize) -> Self {
        self.prefetch = Some(calls);
        self
    }

    /// Sets which spans the calls have at this node. The default is [`PerTask`](Spans::PerTask) if
    /// [`propagate_traces`](crate::propagate_traces) was called before, [`Inherit`](Spans::Inherit)
    /// otherwise.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, NodeConfig, Spans};
    /// let config = NodeConfig::new(MpPoolConfig::new(2)).spans(Spans::PerTask);
    /// ```
    pub fn spans(mut self, spans: Spans) -> Self {
        self.spans = Some(spans);
        self
    }
}

/// The fields in a configuration file. Formats without names of fields have them in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    name: Option<String>,
    #[serde(default = "default_queues")]
    queues: BTreeSet<String>,
    #[serde(default)]
    prefetch: Option<usize>,
    #[serde(default)]
    spans: Option<Spans>,
    #[serde(default)]
    mp_pool: Option<MpPoolConfig>,
    #[serde(default)]
    thread_pool: Option<PoolConfig>,
}

fn default_queues() -> BTreeSet<String> {
    BTreeSet::from([DEFAULT_QUEUE.to_owned()])
}

impl TryFrom<Fields> for NodeConfig {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields { name, queues, prefetch, spans, mp_pool, thread_pool } = fields;
        let pool = match (mp_pool, thread_pool) {
            (None, None) => Pool::Processes(MpPoolConfig::default()),
            (Some(pool), None) => Pool::Processes(pool),
            (None, Some(pool)) => Pool::Threads(pool),
            (Some(_), Some(_)) => {
                return Err("a node has either `mp_pool` or `thread_pool`, not both");
            }
        };
        Ok(NodeConfig { pool, name, queues, prefetch, spans })
    }
}

impl From<NodeConfig> for Fields {
    fn from(config: NodeConfig) -> Self {
        let NodeConfig { pool, name, queues, prefetch, spans } = config;
        let (mp_pool, thread_pool) = match pool {
            Pool::Processes(pool) => (Some(pool), None),
            Pool::Threads(pool) => (None, Some(pool)),
        };
        Fields { name, queues, prefetch, spans, mp_pool, thread_pool }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_is_read_as_it_is_written() {
        let configs = [
            NodeConfig::new(MpPoolConfig::new(3).reserve_high(2)).name("a").queues(["x", "y"]),
            NodeConfig::threads(PoolConfig::new(1)).prefetch(0).spans(Spans::PerTask),
        ];
        for config in configs {
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<NodeConfig>(&text).unwrap(), config, "{text}");
            let bytes = rmp_serde::to_vec(&config).unwrap();
            assert_eq!(rmp_serde::from_slice::<NodeConfig>(&bytes).unwrap(), config);
        }
    }

    #[test]
    fn fields_have_defaults() {
        let config: NodeConfig = toml::from_str("").unwrap();
        assert_eq!(config, NodeConfig::new(MpPoolConfig::default()));
        let config: NodeConfig = toml::from_str("thread_pool.pool_size = 7").unwrap();
        let Pool::Threads(pool) = &config.pool else { panic!("{config:?}") };
        assert_eq!(pool.pool_size, 7);
        assert_eq!(config.queues, default_queues());
    }

    #[test]
    fn wrong_fields_are_errors() {
        let error = |text: &str| toml::from_str::<NodeConfig>(text).unwrap_err().to_string();
        let both = error("mp_pool.pool_size = 1\nthread_pool.pool_size = 1");
        assert!(both.contains("either `mp_pool` or `thread_pool`"), "{both}");
        assert!(error("queue = ['a']").contains("unknown field `queue`"));
    }
}
