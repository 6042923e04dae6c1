//! The configuration of a supervisor before it is created.

use super::{Core, Supervisor, SupervisorConfig};
use crate::observe::spans::Spans;
use crate::options::PoolConfig;
use crate::process::MpPoolConfig;

/// A builder for a supervisor. See [`Supervisor::builder`].
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{PoolConfig, Spans, Supervisor};
/// let sup = Supervisor::builder()
///     .id("batch")
///     .thread_pool(PoolConfig::new(2))
///     .spans(Spans::PerTask)
///     .build();
/// assert_eq!(sup.id(), "batch");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build()` is called"]
pub struct SupervisorBuilder {
    id: String,
    thread_pool: PoolConfig,
    pub(super) mp_pool: MpPoolConfig,
    spans: Spans,
}

/// The id of a supervisor that is given none.
const DEFAULT_ID: &str = "default";

impl SupervisorBuilder {
    pub(super) fn new() -> Self {
        SupervisorBuilder {
            id: DEFAULT_ID.to_owned(),
            thread_pool: PoolConfig::default(),
            mp_pool: MpPoolConfig::default(),
            spans: Spans::default(),
        }
    }

    /// Sets everything that a builder can set. Setters that are called later change single parts.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{PoolConfig, Supervisor, SupervisorConfig};
    /// let mut config = SupervisorConfig::default();
    /// config.id = Some("batch".to_owned());
    /// config.thread_pool = PoolConfig::new(2);
    /// let sup = Supervisor::builder().config(config).id("nightly batch").build();
    /// assert_eq!(sup.id(), "nightly batch");
    /// assert_eq!(sup.thread_pool(), PoolConfig::new(2));
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a field of `config` has a value that its setter rejects. A configuration that was
    /// read from a file has none.
    #[track_caller]
    pub fn config(self, config: SupervisorConfig) -> Self {
        // All fields are listed, so that a new field has to be considered here.
        let SupervisorConfig { id, thread_pool, mp_pool, spans } = config;
        let mp_pool = mp_pool.checked();
        let id = id.unwrap_or_else(|| DEFAULT_ID.to_owned());
        SupervisorBuilder { mp_pool, ..self }.id(id).thread_pool(thread_pool).spans(spans)
    }

    /// Sets the id, used in logs and in the names of threads and processes (default: `default`).
    pub fn id(mut self, id: impl Into<String>) -> Self {
        // Threads are named after it, and the name of a thread can't contain NUL.
        self.id = id.into().replace('\0', "?");
        self
    }

    /// Configures the thread pool (default: [`PoolConfig::default`]).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{PoolConfig, Supervisor};
    /// let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    /// assert_eq!(sup.thread_pool().pool_size, 2);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a field of `config` has a value that its setter rejects.
    #[track_caller]
    pub fn thread_pool(mut self, config: PoolConfig) -> Self {
        self.thread_pool = config.checked();
        self
    }

    /// Sets which tracing spans the tasks have (default: [`Spans::Inherit`]).
    ///
    /// With [`Spans::PerTask`], each attempt runs inside a span `task` with the target `atasker`
    /// at INFO. Its fields are `id`, `name`, `tt`, `priority`, `attempt`, `otel.name` (the name of
    /// the task) and, at its end, `outcome`, `otel.status_code` and `worker`, the process id of the
    /// worker process. Its parent is the span that was current at the launch, also after a delay,
    /// for further attempts, on aloops and for worker processes.
    ///
    /// That span stays open until the task has ended. Without a subscriber that wants INFO of the
    /// target `atasker`, no span is created and a launch keeps none.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Spans, Supervisor};
    /// let sup = Supervisor::builder().spans(Spans::PerTask).build();
    /// assert_eq!(sup.spawn(|| 6 * 7).join().unwrap(), 42);
    /// ```
    pub fn spans(mut self, spans: Spans) -> Self {
        self.spans = spans;
        self
    }

    /// Creates the supervisor. Threads and processes are started when they are first needed.
    pub fn build(self) -> Supervisor {
        Supervisor::from_core(Core::new(self.id, self.thread_pool, self.mp_pool, self.spans))
    }
}
