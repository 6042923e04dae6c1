//! `once_per_cluster`: of all programs that have the same job, one makes each run.
//!
//! Every program keeps the clock. When a run is due, each of them writes the name of its tick to the
//! cluster, and the first one makes the run. So the name of a tick must be the same everywhere: the
//! planned time of a cron job, or the number of the interval since 1970. Jobs with an interval begin
//! theirs at whole multiples of it for that reason.

use std::sync::{Arc, Weak};

use crate::background::builder::WorkerBuilder;
use crate::background::engine::Ticks;
use crate::background::handle::IntervalWorker;
use crate::background::jobs::Job;
use crate::background::schedule::Trigger;
use crate::cluster::handle::Cluster;
use crate::supervisor::Core;
use crate::unwind::log;

/// The ticks of one job in a cluster.
#[derive(Debug)]
pub(in crate::background) struct ClusterTicks {
    cluster: Cluster,
    name: String,
}

impl Ticks for ClusterTicks {
    fn ask(&self, core: &Weak<Core>, tick: String, then: Box<dyn FnOnce(bool) + Send>) {
        let Some(core) = core.upgrade() else { return then(false) };
        let tick = format!("{} {tick}", self.name);
        let answer = self.cluster.first(tick);
        let name = self.name.clone();
        core.wait_on_pool(move || {
            let is_first = answer.wait().unwrap_or_else(|error| {
                log!(warn, name, %error, "a run is skipped, because it is not known whether it is this program's");
                false
            });
            then(is_first);
        });
    }
}

#[track_caller]
fn check(trigger: &Trigger) {
    assert!(
        matches!(trigger, Trigger::Cron { .. } | Trigger::Every { .. }),
        "`once_per_cluster` needs runs by a cron expression or at an interval: pauses after runs differ \
         from program to program"
    );
}

impl Job {
    /// Lets one program of the cluster make each run, of all programs that have created a job with
    /// this name.
    ///
    /// For jobs by [`cron`](Job::cron) and at an interval ([`every`](Job::every)). Each program keeps
    /// the clock. When a run is due, the first program that tells the cluster makes it, by its own
    /// clock and time zone; the others skip it. An interval begins at whole multiples of itself since
    /// 1970, so the first run is not made at once. The schedule must be the same everywhere.
    ///
    /// A run is made at most once: it is lost if its program dies, or if the cluster does not answer
    /// within five seconds. To make it at least once, let the job launch a remote task with a
    /// [`unique`](crate::TaskBuilder::unique) key that names the run.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Cluster, Job, Supervisor};
    /// let cluster = Cluster::in_memory();
    /// let sup = Supervisor::builder().build();
    /// let hourly = Job::every(Duration::from_secs(3600)).once_per_cluster(&cluster, "report");
    /// let job = sup.create_job(hourly, || println!("the report of the hour"));
    /// # job.cancel();
    /// ```
    ///
    /// # Panics
    ///
    /// Panics for [`Job::once`].
    #[track_caller]
    pub fn once_per_cluster(mut self, cluster: &Cluster, name: &str) -> Self {
        assert!(
            !self.is_single,
            "`once_per_cluster` needs a job with a common clock: not `Job::once`"
        );
        check(&self.trigger);
        self.options.ticks = Some(ticks(cluster, name));
        self
    }
}

impl WorkerBuilder<IntervalWorker> {
    /// Lets one program of the cluster make each planned run, of all programs that have started a
    /// worker with this name. See [`Job::once_per_cluster`]. Runs by
    /// [`trigger`](IntervalWorker::trigger) are made in any case.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Cluster, IntervalWorker};
    /// let cluster = Cluster::in_memory();
    /// let worker = IntervalWorker::builder(Duration::from_secs(60))
    ///     .once_per_cluster(&cluster, "cleanup")
    ///     .run(|_| println!("cleaned up"));
    /// # drop(worker);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics for a worker with pauses ([`IntervalWorker::with_delay`]), whose runs have no common
    /// clock.
    #[track_caller]
    pub fn once_per_cluster(mut self, cluster: &Cluster, name: &str) -> Self {
        check(&self.trigger);
        self.options.ticks = Some(ticks(cluster, name));
        self
    }
}

fn ticks(cluster: &Cluster, name: &str) -> Arc<dyn Ticks> {
    Arc::new(ClusterTicks { cluster: cluster.clone(), name: name.to_owned() })
}
