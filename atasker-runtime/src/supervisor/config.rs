//! The whole configuration of a supervisor, as a value that can be written and read.

use serde::{Deserialize, Serialize};

use crate::observe::spans::Spans;
use crate::options::PoolConfig;
use crate::process::MpPoolConfig;

/// The configuration of a supervisor: what [`Supervisor::builder`](crate::Supervisor::builder) sets,
/// as one value, for example from a configuration file.
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use std::time::Duration;
///
/// use atasker::{Overflow, Supervisor, SupervisorConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/supervisor/example.toml");
/// let config: SupervisorConfig = toml::from_str(&std::fs::read_to_string(path)?)?;
/// let sup = Supervisor::builder().config(config).build();
/// assert_eq!(sup.id(), "batch");
/// assert_eq!(sup.thread_pool().idle_timeout, Duration::from_secs(120));
/// assert_eq!(sup.thread_pool().queue_limit, Some((1000, Overflow::Reject)));
/// # Ok(())
/// # }
/// ```
///
/// The file of this example, which contains all settings:
///
/// ```toml
#[doc = include_str!("example.toml")]
/// ```
///
/// # Format
///
/// All configurations work with any format that serde supports. In those that describe themselves
/// (TOML, JSON, YAML):
///
/// * A field that is left out has its default: that of a supervisor without a configuration.
/// * An unknown field is an error that names it and the known ones. So is a value that the setter of
///   the field would reject.
/// * Durations are texts, as in the attributes: a number, which may have a fraction, and `ns`, `us`,
///   `ms`, `s`, `m` or `h`. They are written exactly, in the largest unit that gives a whole number.
/// * A limit of a queue is a table. `overflow` may be left out, which means `"block"`.
/// * `worker_init`, `worker_exit` and `worker_data` of the pool of worker processes are neither
///   written nor read.
/// * TOML has no integers above 2<sup>63</sup> - 1, so larger numbers can't be written there.
///
/// Without the feature `mp`, this type has no field `mp_pool`. A file may contain that table
/// nevertheless. It is not even checked then, so that programs that are built with different
/// features can share a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[must_use = "a configuration does nothing until it is given to a supervisor"]
pub struct SupervisorConfig {
    /// The id, used in logs and in the names of threads and processes; `None` means `default`.
    pub id: Option<String>,
    /// The thread pool.
    pub thread_pool: PoolConfig,
    /// The pool of worker processes.
    #[cfg(feature = "mp")]
    pub mp_pool: MpPoolConfig,
    #[cfg(not(feature = "mp"))]
    pub(crate) mp_pool: MpPoolConfig,
    /// Which tracing spans the tasks have.
    pub spans: Spans,
}
