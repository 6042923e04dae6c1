//! Jobs: a function at certain times, by one timer for all of them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::background::cron::{Cron, CronError};
use crate::background::engine::{Engine, Hooks, Runner, Traits};
use crate::background::outcome::WorkerOutput;
use crate::background::run::{Launch, ThreadRunner};
use crate::background::schedule::{Overrun, Rhythm, Schedule};
use crate::clock;
use crate::info::WorkerKind;
use crate::priority::Priority;
use crate::supervisor::Supervisor;

/// When a job runs. See [`Supervisor::create_job`].
///
/// ```
/// use std::time::Duration;
/// use atasker_runtime::Job;
///
/// // Ten times, every second, the first time in a minute.
/// let job = Job::every(Duration::from_secs(1)).times(10).after(Duration::from_secs(60));
/// // Once, in an hour.
/// let job = Job::once(Duration::from_secs(3600));
/// // At half past four, local time, every day.
/// let job = Job::cron("30 4 * * *");
/// ```
#[derive(Debug)]
#[must_use = "a job runs once it is given to `create_job`"]
pub struct Job {
    rhythm: Rhythm,
    first: Duration,
    times: Option<u64>,
    name: Option<String>,
    priority: Priority,
    aloop: Option<String>,
}

impl Job {
    fn new(rhythm: Rhythm) -> Self {
        Job {
            rhythm,
            first: Duration::ZERO,
            times: None,
            name: None,
            priority: Priority::default(),
            aloop: None,
        }
    }

    /// Every so often, start to start; the first time at once, or as [`after`](Self::after) says.
    /// Turns that a long run has missed are left out.
    pub fn every(interval: Duration) -> Self {
        Job::new(Rhythm::Every { period: interval, overrun: Overrun::Skip })
    }

    /// Once, after so long.
    pub fn once(after: Duration) -> Self {
        let far = Duration::from_secs(3600);
        Job::new(Rhythm::Every { period: far, overrun: Overrun::Skip }).times(1).after(after)
    }

    /// By a cron expression, in local time: five fields (minute, hour, day of the month, month, day of
    /// the week), or six with seconds first. A year as a seventh, `@daily` and its like, and the
    /// further signs of the crate [`croner`](https://docs.rs/croner) are read, too.
    ///
    /// # Panics
    /// If the expression is none: see [`try_cron`](Self::try_cron).
    #[track_caller]
    pub fn cron(expression: &str) -> Self {
        match Self::try_cron(expression) {
            Ok(job) => job,
            Err(error) => panic!("{error}"),
        }
    }

    /// The same for an expression that comes from outside.
    ///
    /// # Errors
    /// Says what is wrong with it.
    ///
    /// ```
    /// assert!(atasker_runtime::Job::try_cron("99 * * * *").is_err());
    /// ```
    pub fn try_cron(expression: &str) -> Result<Self, CronError> {
        let cron = Box::new(Cron::parse(expression)?);
        Ok(Job::new(Rhythm::Cron { cron, planned: None }))
    }

    /// So many runs, and then no more.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Nothing before so long.
    pub fn after(mut self, delay: Duration) -> Self {
        self.first = delay;
        self
    }

    /// What it is called in logs and in `info()`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How urgent its runs are.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// On which aloop it runs, for an async function (default: the default one).
    pub fn aloop(mut self, name: impl Into<String>) -> Self {
        self.aloop = Some(name.into());
        self
    }
}

/// What a job may run: `|| ..` on a pool thread, or `|| async { .. }` on an aloop. It returns what a
/// background worker's function may return: `false` or `Break` ends the job.
#[diagnostic::on_unimplemented(
    message = "a job runs `|| ..` or `|| async {{ .. }}`",
    note = "it must be `Send` and `'static`, and give `()`, `bool`, `ControlFlow<()>`, or a `Result` of these"
)]
pub trait JobFn<M> {
    #[doc(hidden)]
    fn into_function(self) -> Function;
}

/// The function of a job, without its type.
#[doc(hidden)]
pub struct Function(Kind);

enum Kind {
    Thread(crate::background::run::OnThread),
    #[cfg(feature = "async")]
    Loop(crate::background::run::OnLoop),
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// A plain function.
#[derive(Debug)]
pub struct Plain<R>(std::marker::PhantomData<R>);

/// One that gives a future.
#[derive(Debug)]
pub struct Awaited<F>(std::marker::PhantomData<F>);

impl<F, R> JobFn<Plain<R>> for F
where
    F: FnMut() -> R + Send + 'static,
    R: WorkerOutput,
{
    fn into_function(mut self) -> Function {
        Function(Kind::Thread(Box::new(move |_| self().run_end())))
    }
}

#[cfg(feature = "async")]
impl<F, Fut> JobFn<Awaited<Fut>> for F
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: WorkerOutput,
{
    fn into_function(mut self) -> Function {
        Function(Kind::Loop(Box::new(move |_| {
            let future = self();
            Box::pin(async move { future.await.run_end() })
        })))
    }
}

/// A job. Dropping it changes nothing.
#[derive(Clone)]
pub struct JobHandle {
    engine: Arc<Engine>,
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("name", &self.name())
            .field("active", &self.is_active())
            .field("runs", &self.runs())
            .finish()
    }
}

impl JobHandle {
    /// No further runs. One that is under way is asked to stop; this does not wait for it.
    pub fn cancel(&self) {
        self.engine.stop_nowait();
    }

    /// How many of its runs are over.
    pub fn runs(&self) -> u64 {
        self.engine.runs()
    }

    /// Whether further runs may come.
    pub fn is_active(&self) -> bool {
        self.engine.is_active()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.engine.traits.name
    }

    /// When its latest run began.
    pub fn last_executed(&self) -> Option<SystemTime> {
        self.engine.last().map(clock::system_time)
    }
}

impl Supervisor {
    /// Runs `f` as `job` says: `|| ..` on a pool thread, `|| async { .. }` on an aloop. All jobs share
    /// one timer. A run that takes too long is not joined by a second one; an error or a panic is
    /// logged, and the job goes on.
    ///
    /// On a supervisor that is stopped, the job is over at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use atasker_runtime::{Job, supervisor};
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// let job = supervisor().create_job(Job::every(Duration::from_millis(1)).times(3), move || {
    ///     tx.send(()).unwrap();
    /// });
    /// assert_eq!(rx.iter().count(), 3);
    /// # while job.is_active() { std::thread::yield_now() }
    /// assert_eq!(job.runs(), 3);
    /// ```
    pub fn create_job<M>(&self, job: Job, f: impl JobFn<M>) -> JobHandle {
        let core = Arc::downgrade(self.core());
        let name = job.name.unwrap_or_else(|| "job".to_owned());
        let launch = Launch {
            name: name.as_str().into(),
            priority: job.priority,
            aloop: job.aloop,
            core: core.clone(),
        };
        let runner: Box<dyn Runner> = match f.into_function().0 {
            Kind::Thread(function) => {
                let function = Arc::new(Mutex::new(function));
                Box::new(ThreadRunner { launch, function, keeps: false })
            }
            #[cfg(feature = "async")]
            Kind::Loop(function) => {
                let function = Arc::new(Mutex::new(function));
                Box::new(crate::background::run::LoopRunner { launch, function, keeps: false })
            }
        };
        let traits = Traits {
            name,
            kind: WorkerKind::Job,
            priority: job.priority,
            on_error: None,
            hooks: Hooks::default(),
        };
        let schedule = Schedule::new(job.rhythm, job.first).times(job.times);
        let engine = Engine::new(traits, schedule, core, runner);
        engine.start();
        JobHandle { engine }
    }
}
