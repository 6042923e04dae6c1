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
/// # let text = r#"
/// # id = "batch"
/// #
/// # [thread_pool]
/// # pool_size = 8
/// # idle_timeout = "2m"
/// # queue_limit = { tasks = 1000, overflow = "reject" }
/// # "#;
/// # let path = std::env::temp_dir().join(format!("atasker-{}.toml", std::process::id()));
/// # std::fs::write(&path, text)?;
/// let config: SupervisorConfig = toml::from_str(&std::fs::read_to_string(&path)?)?;
/// # std::fs::remove_file(&path)?;
/// let sup = Supervisor::builder().config(config).build();
/// assert_eq!(sup.id(), "batch");
/// assert_eq!(sup.thread_pool().idle_timeout, Duration::from_secs(120));
/// assert_eq!(sup.thread_pool().queue_limit, Some((1000, Overflow::Reject)));
/// # Ok(())
/// # }
/// ```
///
/// The file of this example, with all settings of both pools:
///
/// ```toml
/// id = "batch"
/// spans = "inherit"            # or "per_task", "off"
///
/// [thread_pool]
/// pool_size = 8                # 0: no limit
/// reserve_normal = 5
/// reserve_high = 5
/// min_size = 0
/// max_size = 16
/// idle_timeout = "2m"
/// queue_limit = { tasks = 1000, overflow = "reject" }      # or "block"
/// stack_size = 2097152
///
/// [mp_pool]
/// pool_size = 4
/// reserve_normal = 1
/// reserve_high = 1
/// critical_extra = 4
/// min_size = 1
/// idle_timeout = "30s"
/// max_tasks_per_worker = 1000
/// memory_limit = 1073741824
/// env = { MODE = "fast" }
/// stdio = "log"                # or "inherit", "null"
/// nice = 5
/// nice_by_priority = false
/// dumpable = true
/// queue_limit = { tasks = 1000, overflow = "block" }
/// queue_bytes = { bytes = 67108864, overflow = "block" }
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
/// * [`worker_init`](crate::MpPoolConfig::worker_init),
///   [`worker_exit`](crate::MpPoolConfig::worker_exit) and
///   [`worker_data`](crate::MpPoolConfig::worker_data) are neither written nor read.
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
