//! Jobs: functions that run at certain times, by the engine of background workers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::background::assembly::WorkerOptions;
#[cfg(feature = "cron")]
use crate::background::cron::{Cron, CronError};
use crate::background::engine::{Engine, Executor};
use crate::background::executor;
use crate::background::outcome::WorkerOutput;
use crate::background::schedule::{Overrun, Schedule, Trigger};
use crate::info::WorkerKind;
use crate::priority::Priority;
use crate::supervisor::Supervisor;
use crate::time::clock;

/// The schedule and the options of a job. See [`Supervisor::create_job`].
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::Job;
///
/// // Ten runs, one every second, the first in a minute.
/// let job = Job::every(Duration::from_secs(1)).times(10).after(Duration::from_secs(60));
/// // One run, in an hour.
/// let job = Job::once(Duration::from_secs(3600));
/// // Daily at 4:30, local time.
/// # #[cfg(feature = "cron")]
/// let job = Job::cron("30 4 * * *");
/// ```
#[derive(Debug)]
#[must_use = "a job does nothing until it is passed to `create_job`"]
pub struct Job {
    pub(super) trigger: Trigger,
    initial_delay: Duration,
    times: Option<u64>,
    pub(super) options: WorkerOptions,
    /// Created by [`once`](Self::once).
    #[cfg_attr(not(feature = "remote"), allow(dead_code))]
    pub(super) is_single: bool,
}

impl Job {
    fn new(trigger: Trigger) -> Self {
        Job {
            trigger,
            initial_delay: Duration::ZERO,
            times: None,
            options: WorkerOptions::default(),
            is_single: false,
        }
    }

    /// Returns a job that starts a run every `interval`.
    ///
    /// The first run starts at once, or after the delay of [`after`](Self::after). Runs that are
    /// missed because another run takes too long are skipped. With an interval of 0, each run
    /// starts when the previous one has completed.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Job, supervisor};
    /// let job = supervisor().create_job(Job::every(Duration::from_secs(60)), || println!("tick"));
    /// # job.cancel();
    /// ```
    pub fn every(interval: Duration) -> Self {
        Job::new(Trigger::Every { period: interval, overrun: Overrun::Skip })
    }

    /// Returns a job with a single run, after a delay.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Job, supervisor};
    /// let (sender, runs) = std::sync::mpsc::channel();
    /// supervisor().create_job(Job::once(Duration::from_millis(1)), move || sender.send(()).unwrap());
    /// runs.recv().unwrap();
    /// ```
    pub fn once(after: Duration) -> Self {
        let far = Duration::from_secs(3600);
        let job = Job::new(Trigger::Every { period: far, overrun: Overrun::Skip });
        Job { is_single: true, ..job }.times(1).after(after)
    }

    /// Returns a job that runs by a cron expression, in local time.
    ///
    /// An expression has five fields (minute, hour, day of the month, month, day of the week), or
    /// six with the second as the first field. A seventh field is the year, up to 5000. Without the
    /// field, the second is 0. A field is `*` or a list of values, of ranges (`9-17`), and of
    /// either with a step (`*/5`, `9-17/2`). Months and days of the week have names (`JAN`, `MON`),
    /// and Sunday is 0 or 7. A day that matches the day of the month or the day of the week is
    /// sufficient if neither of both fields is `*`.
    ///
    /// | extension | meaning |
    /// |---|---|
    /// | `L`, `LW` | the last day of the month; its last day from Monday to Friday |
    /// | `15W` | the day from Monday to Friday that is nearest to the 15th, in the same month |
    /// | `FRI#2`, `FRI#L`, `5L` | the second Friday of the month; the last one |
    /// | `+FRI` | only Fridays that also match the day of the month |
    /// | `?` | like `*`, for the day of the month or of the week |
    /// | `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` | an expression by its name |
    ///
    /// Requires the feature `cron`, which is enabled by default.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Job, supervisor};
    /// let job = supervisor().create_job(Job::cron("30 4 * * MON-FRI"), || println!("half past four"));
    /// # job.cancel();
    /// ```
    ///
    /// # Daylight saving time
    ///
    /// The behavior at a transition of the time zone depends on how often the job runs:
    ///
    /// | the job runs | clock set back: local times occur twice | clock set forward: local times are skipped |
    /// |---|---|---|
    /// | in every hour (`*/20 * * * *`, `0 * * * *`) | at both occurrences | at the next time that exists |
    /// | several times in certain hours (`*/20 1-5 * * *`) | at both occurrences | once right after the gap, for all skipped times |
    /// | at most once in certain hours (`30 4 * * *`, `0 */6 * * *`) | at the first occurrence only | once right after the gap, for all skipped times |
    ///
    /// A calendar day that a time zone skips entirely, as Samoa skipped 30 December 2011, has no
    /// runs: a daily job runs on the next day at its usual time. If the wall clock is set manually
    /// or by the network, later runs use the new time, and skipped times are not made up for.
    ///
    /// # Panics
    /// Panics if the expression is invalid, or never matches a future time. See
    /// [`try_cron`](Self::try_cron).
    #[cfg(feature = "cron")]
    #[track_caller]
    pub fn cron(expression: &str) -> Self {
        match Self::try_cron(expression) {
            Ok(job) => job,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns a job that runs by a cron expression from an untrusted source. See
    /// [`cron`](Self::cron).
    ///
    /// # Errors
    /// Returns an error if a field is invalid (such as an empty item of a list, a range that runs
    /// backwards, or a number out of range), or if the expression never matches a future time.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Job;
    /// assert!(Job::try_cron("*/15 9-17 * * MON-FRI").is_ok());
    /// for wrong in ["99 * * * *", "1,,2 * * * *", "0 17-9 * * *", "0 0 30 2 *"] {
    ///     assert!(Job::try_cron(wrong).is_err());
    /// }
    /// ```
    #[cfg(feature = "cron")]
    pub fn try_cron(expression: &str) -> Result<Self, CronError> {
        let cron = Box::new(Cron::parse(expression)?);
        Ok(Job::new(Trigger::Cron { cron, planned: None }))
    }

    /// Limits the number of runs. With 0, the job ends at once.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Job, supervisor};
    /// let schedule = Job::every(Duration::from_millis(1)).times(2);
    /// let (sender, runs) = std::sync::mpsc::channel();
    /// supervisor().create_job(schedule, move || sender.send(()).unwrap());
    /// assert_eq!(runs.iter().count(), 2);
    /// ```
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Delays the first run by at least `delay`, measured from
    /// [`create_job`](Supervisor::create_job). A delay of more than 30 years counts as 30 years.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::Job;
    /// // Every second, from the next minute on.
    /// let schedule = Job::every(Duration::from_secs(1)).after(Duration::from_secs(60));
    /// # drop(schedule);
    /// ```
    pub fn after(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// Sets the name, which logs and `info()` use.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Sets the priority of the runs.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// Sets the aloop of the runs, for an async function (default: the default aloop).
    pub fn aloop(mut self, name: impl Into<String>) -> Self {
        self.options.aloop = Some(name.into());
        self
    }
}

mod sealed {
    pub trait Function<M> {}
}

/// The function of a job: `|| ..` on a pool thread, or `|| async { .. }` on an aloop.
///
/// It has the return types of a background worker's function ([`WorkerOutput`]): `false` and
/// `Break` end the job.
///
/// This trait is sealed: it is implemented for these closures only.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Job, supervisor};
/// let hour = Duration::from_secs(3600);
/// let plain = supervisor().create_job(Job::once(hour), || println!("on a thread"));
/// let future = supervisor().create_job(Job::once(hour), || async { println!("on an aloop") });
/// # plain.cancel();
/// # future.cancel();
/// ```
#[diagnostic::on_unimplemented(
    message = "a job runs `|| ..` or `|| async {{ .. }}`",
    note = "it must be `Send` and `'static`, and return `()`, `bool`, `ControlFlow<()>`, or a `Result` of these"
)]
pub trait JobFn<M>: sealed::Function<M> {
    #[doc(hidden)]
    fn into_function(self) -> Function;
}

/// The type-erased function of a job.
#[doc(hidden)]
pub struct Function(Arc<dyn Executor>);

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// Marks functions that are not async.
#[derive(Debug)]
pub struct Plain<R>(std::marker::PhantomData<R>);

/// Marks functions that return a future.
#[derive(Debug)]
pub struct Awaited<F>(std::marker::PhantomData<F>);

impl<F, R> sealed::Function<Plain<R>> for F
where
    F: FnMut() -> R + Send + 'static,
    R: WorkerOutput,
{
}

impl<F, R> JobFn<Plain<R>> for F
where
    F: FnMut() -> R + Send + 'static,
    R: WorkerOutput,
{
    fn into_function(mut self) -> Function {
        Function(executor::on_thread(move |_| self()))
    }
}

#[cfg(feature = "async")]
impl<F, Fut> sealed::Function<Awaited<Fut>> for F
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: WorkerOutput,
{
}

#[cfg(feature = "async")]
impl<F, Fut> JobFn<Awaited<Fut>> for F
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: WorkerOutput,
{
    fn into_function(mut self) -> Function {
        Function(executor::on_aloop(move |_| self()))
    }
}

/// A handle to a job. Dropping the handle has no effect.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Job, supervisor};
/// let hourly = Job::every(Duration::from_secs(3600)).name("report");
/// let job = supervisor().create_job(hourly, || println!("report"));
/// assert_eq!(job.name(), "report");
/// job.cancel();
/// assert!(!job.is_active());
/// ```
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
    /// Cancels further runs. A run in progress is asked to stop, and `cancel` doesn't wait for it.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Job, supervisor};
    /// let job = supervisor().create_job(Job::once(Duration::from_secs(3600)), || println!("too late"));
    /// job.cancel();
    /// assert!(!job.is_active());
    /// ```
    pub fn cancel(&self) {
        self.engine.stop_nowait();
    }

    /// Returns the number of completed runs.
    pub fn runs(&self) -> u64 {
        self.engine.runs()
    }

    /// Returns whether the job may have further runs.
    pub fn is_active(&self) -> bool {
        self.engine.is_active()
    }

    /// Returns the name of the job.
    pub fn name(&self) -> &str {
        self.engine.spec.name()
    }

    /// Returns the start time of the latest run.
    pub fn last_executed(&self) -> Option<SystemTime> {
        self.engine.last().map(clock::system_time)
    }
}

impl Supervisor {
    /// Creates a job that runs `f`: `|| ..` on a pool thread, `|| async { .. }` on an aloop.
    ///
    /// All jobs share one timer. Runs of a job don't overlap. An error or a panic is logged, and
    /// the job continues. On a stopped supervisor, the job ends at once.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Job, supervisor};
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// let job = supervisor().create_job(Job::every(Duration::from_millis(1)).times(3), move || {
    ///     tx.send(()).unwrap();
    /// });
    /// assert_eq!(rx.iter().count(), 3);
    /// # while job.is_active() { std::thread::yield_now() }
    /// assert_eq!(job.runs(), 3);
    /// ```
    pub fn create_job<M>(&self, job: Job, f: impl JobFn<M>) -> JobHandle {
        let schedule = Schedule::new(job.trigger, job.initial_delay)
            .times(job.times)
            .aligned(job.options.ticks.is_some());
        let executor = f.into_function().0;
        let engine = job.options.assemble(WorkerKind::Job, schedule, None, self.core(), executor);
        engine.start();
        JobHandle { engine }
    }
}
