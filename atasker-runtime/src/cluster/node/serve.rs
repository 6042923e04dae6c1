//! Beginning to serve.

use std::sync::Arc;

use super::commands::Commands;
use super::config::{NodeConfig, Pool};
use super::ended::Ended;
use super::handle::{Inner, Node};
use super::runner::{self, NodeRunner};
use crate::cluster::door::{FunctionKey, NodeOffer, Runner};
use crate::cluster::error::ClusterError;
use crate::cluster::handle::{Cluster, not_in_a_fork};
use crate::cluster::is_token;
use crate::cluster::protocol::Serving;
use crate::info::TaskType;
use crate::observe::load::LoadListener;
use crate::observe::spans::Spans;
use crate::observe::trace;
use crate::process;
use crate::remote::functions;
use crate::supervisor::Supervisor;
use crate::sys::host;

impl Cluster {
    /// Serves calls of the cluster in this process, until the node is drained or stopped, or the
    /// cluster is closed.
    ///
    /// A process can serve and launch at once, and can be several nodes.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Cluster, NodeConfig, PoolConfig};
    /// let cluster = Cluster::in_memory();
    /// let node = cluster.serve(NodeConfig::threads(PoolConfig::new(4)).name("one"))?;
    /// assert_eq!(cluster.info()?.nodes[0].name, "one");
    /// node.drain(Duration::from_secs(30));
    /// # Ok::<(), atasker::ClusterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Invalid`](ClusterError::Invalid) if the configuration is not valid, or two remote
    /// functions of this program have the same name and signature;
    /// [`Unavailable`](ClusterError::Unavailable) if this process can't have worker processes; or an
    /// error if the broker does not answer.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn serve(&self, config: NodeConfig) -> Result<Node, ClusterError> {
        not_in_a_fork()?;
        let NodeConfig { pool, name, queues, prefetch, spans } = config;
        let name = name.unwrap_or_else(host::name);
        check_name(&name)?;
        check_queues(queues.iter().map(String::as_str))?;
        check_functions()?;
        let spans = spans.unwrap_or_else(|| match trace::is_set() {
            true => Spans::PerTask,
            false => Spans::default(),
        });
        let builder = Supervisor::builder().id(&name).spans(spans);
        let (supervisor, tt) = match pool {
            Pool::Processes(pool) => {
                if let Some(why) = process::unavailable_reason() {
                    let detail = format!("no calls can run in worker processes here: {why}");
                    return Err(ClusterError::Unavailable { detail });
                }
                (builder.mp_pool(pool).build(), TaskType::Mp)
            }
            Pool::Threads(pool) => (builder.thread_pool(pool).build(), TaskType::Thread),
        };
        supervisor.core().observers().set_node(&name);
        // Worker processes of `min_size` are started now.
        supervisor.start();
        let commands = Commands::start(&name).map_err(|error| ClusterError::Unavailable {
            detail: format!("the thread of the node could not be started: {error}"),
        })?;
        let (ended, ends) = Ended::new();
        let runner = NodeRunner::new(supervisor.clone(), tt, commands, ends);
        let limits = runner::limits(&supervisor, tt);
        let offer = NodeOffer {
            name,
            host: host::name(),
            pid: std::process::id(),
            queues: queues.into_iter().collect(),
            slots: number(limits.pool_size),
            reserve_normal: number(limits.reserve_normal),
            reserve_high: number(limits.reserve_high),
            prefetch,
            functions: offered_functions(),
            build: build(),
        };
        let as_runner = Arc::clone(&runner) as Arc<dyn Runner>;
        let serving = Arc::new(self.session().serve(offer.clone(), as_runner).wait()?);
        runner.listen(Arc::new(RoomListener(Arc::clone(&serving))));
        let lost_after = self.session().limits().lost_after;
        let runs = runner.shared();
        Ok(Node::new(Inner { serving, supervisor, tt, offer, runs, ended, lost_after }))
    }
}

pub(super) fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn check_name(name: &str) -> Result<(), ClusterError> {
    let is_valid = (1..=128).contains(&name.len()) && !name.chars().any(char::is_control);
    match is_valid {
        true => Ok(()),
        false => Err(ClusterError::invalid(format!(
            "the name {name:?} of the node is not 1 to 128 bytes without control characters"
        ))),
    }
}

fn check_queues<'a>(queues: impl Iterator<Item = &'a str>) -> Result<(), ClusterError> {
    let mut is_empty = true;
    for queue in queues {
        is_empty = false;
        if !is_token(queue) {
            return Err(ClusterError::invalid(format!(
                "the name {queue:?} of a queue is not 1 to 64 characters of `A-Z a-z 0-9 _ -`"
            )));
        }
    }
    match is_empty {
        true => Err(ClusterError::invalid("a node without queues would never run a call")),
        false => Ok(()),
    }
}

fn check_functions() -> Result<(), ClusterError> {
    match functions::remote_duplicates().first() {
        Some(duplicate) => Err(ClusterError::invalid(duplicate.to_string())),
        None => Ok(()),
    }
}

fn offered_functions() -> Vec<FunctionKey> {
    let key = |function: &functions::Function| FunctionKey {
        name: function.name.to_owned(),
        signature: function.signature,
    };
    functions::remote_functions().into_iter().map(key).collect()
}

/// Returns what tells two builds of a program apart, for people.
fn build() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name} {:08x}", functions::fingerprint() as u32)
}

/// Tells the protocol when the pool of the node has other limits.
struct RoomListener(Arc<Serving>);

impl LoadListener for RoomListener {
    fn load_changed(&self) {
        self.0.room_changed();
    }

    fn stopped(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<(), ClusterError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(check_name("a host.example"), Ok(()));
        for name in ["", "a\nb", "a\0", &"x".repeat(129)] {
            assert!(text(check_name(name)).contains("1 to 128 bytes"), "{name:?}");
        }
        assert_eq!(check_queues(["a", "b-2"].into_iter()), Ok(()));
        assert!(text(check_queues(["a.b"].into_iter())).contains("\"a.b\""));
        assert!(text(check_queues([].into_iter())).contains("without queues"));
    }

    #[test]
    fn this_machine_has_a_name() {
        assert_eq!(check_name(&host::name()), Ok(()));
        assert!(build().contains("atasker_runtime"));
    }
}
