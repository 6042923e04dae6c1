//! The aloops: a place for futures. Each is a tokio runtime on threads of its own.
//!
//! A task's future stands in the task's own allocation, and is no task of tokio's: on each of the
//! runtime's threads a driver (`driver`) polls what is ready (`task::future`). So a launch or a wake
//! costs a place in a queue, and the loop is woken only if it sleeps.

mod body;
mod driver;
mod place;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use self::driver::Drivers;
use crate::error::TaskError;
use crate::info::{AloopInfo, TaskType};
use crate::launcher::TaskBuilder;
use crate::supervisor::Core;
use crate::task::cell::Cell;
use crate::task::future::Turns;
use crate::task::future::queue::Queue;
use crate::task::handle::Task;
use crate::task::header::Header;
use crate::task::wait::ended;
use crate::task::{AnyTask, owners, park};
use crate::thread_start;

pub(crate) use body::{Made, Once, Repeat};
pub(crate) use place::Aloops;

/// A loop for async tasks: a tokio runtime on a thread of its own, named
/// `supervisor_{id}_aloop_{name}`.
///
/// It belongs to its supervisor and stops with it; dropping this handle changes nothing.
///
/// ```
/// use atasker_runtime::Supervisor;
/// let sup = Supervisor::builder().build();
/// let jobs = sup.create_aloop("jobs");
/// let task = jobs.spawn(async { 6 * 7 });
/// assert_eq!(task.join().unwrap(), 42);
/// assert_eq!(jobs.run(async { "done" }), "done");
/// ```
#[derive(Clone)]
pub struct Aloop {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    name: String,
    threads: usize,
    handle: Handle,
    queue: Arc<Queue>,
    drivers: Arc<Drivers>,
    shutdown: Arc<Notify>,
    stopped: AtomicBool,
    supervisor: Weak<Core>,
}

impl std::fmt::Debug for Aloop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aloop").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl Inner {
    /// Starts a loop with `threads` threads.
    fn start(
        supervisor: Weak<Core>,
        supervisor_id: &str,
        name: &str,
        threads: usize,
    ) -> std::io::Result<Arc<Inner>> {
        let thread_name = format!("supervisor_{supervisor_id}_aloop_{name}");
        let runtime = runtime(&thread_name, threads)?;
        let shutdown = Arc::new(Notify::new());
        let owner = supervisor.upgrade().map(|core| core.key());
        let queue = Arc::new(Queue::new(runtime.handle().clone()));
        let drivers = Drivers::start(Arc::clone(&queue), owner, runtime.handle(), threads);
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            threads,
            handle: runtime.handle().clone(),
            queue: Arc::clone(&queue),
            drivers,
            shutdown: Arc::clone(&shutdown),
            stopped: AtomicBool::new(false),
            supervisor,
        });
        std::thread::Builder::new().name(thread_name).spawn(move || {
            thread_start::thread_starts();
            park::mark_aloop_thread();
            let _works_for = owner.map(owners::work_for);
            runtime.block_on(async {
                shutdown.notified().await;
                // Futures that still run are dropped, each at the await where it stands.
                queue.close().await;
            });
            drop(runtime);
        })?;
        Ok(inner)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.shutdown.notify_one();
    }

    /// Takes no more tasks, and stops when these have ended.
    fn stop_after(&self, tasks: Vec<Arc<dyn AnyTask>>) {
        self.stopped.store(true, Ordering::Release);
        let shutdown = Arc::clone(&self.shutdown);
        self.handle.spawn(async move {
            for task in tasks {
                ended(task).await;
            }
            shutdown.notify_one();
        });
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn info(&self) -> AloopInfo {
        // What runs on the runtime besides our drivers, by `Aloop::handle`.
        let others = self.handle.metrics().num_alive_tasks().saturating_sub(self.drivers.count());
        AloopInfo {
            name: self.name.clone(),
            threads: self.threads,
            running: self.queue.live() as usize + others,
        }
    }
}

impl Drop for Inner {
    /// Nobody can reach the loop any more.
    fn drop(&mut self) {
        if !self.is_stopped() {
            self.shutdown.notify_one();
        }
    }
}

fn runtime(thread_name: &str, threads: usize) -> std::io::Result<Runtime> {
    if threads <= 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(thread_name)
        // Not at the start of each thread: those of `spawn_blocking` are there to block. Polling
        // is marked besides, for a thread that has not yet paused.
        .on_thread_start(thread_start::thread_starts)
        .on_thread_park(park::mark_aloop_thread)
        .enable_all()
        .build()
}

impl Aloop {
    fn new(inner: Arc<Inner>) -> Self {
        Aloop { inner }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Runs a future on this loop, as a task of the supervisor.
    pub fn spawn<R: Send + 'static>(
        &self,
        future: impl Future<Output = R> + Send + 'static,
    ) -> Task<R> {
        TaskBuilder::future(future).aloop(self.inner.name.clone()).start_on(&self.inner.supervisor)
    }

    /// Runs a future on this loop and blocks the caller until it returns.
    ///
    /// # Panics
    /// With the future's own panic; when the loop is stopped before the future returns; and on the
    /// thread of an aloop, which must not block: use `.await` there.
    #[track_caller]
    pub fn run<R: Send + 'static>(&self, future: impl Future<Output = R> + Send + 'static) -> R {
        assert!(
            !park::on_aloop_thread(),
            "`Aloop::run` on an aloop's own thread would stop all of its tasks: use `.await`"
        );
        let stopped = || panic!("the aloop `{}` is stopped", self.inner.name);
        if self.inner.is_stopped() {
            stopped();
        }
        let caught = async move {
            let mut future = pin!(future);
            poll_fn(|context| {
                let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
                polled.map_or_else(|payload| Poll::Ready(Err(payload)), |polled| polled.map(Ok))
            })
            .await
        };
        // A cell like a task's, though it is none: no supervisor knows it.
        let header = Header::new(TaskType::Async);
        let launched = header.state.hold() && header.state.launch(false) && header.begin();
        debug_assert!(launched, "nobody else has it");
        let cell = Cell::new(header, Made::new(caught), Turns::default());
        let task: Task<_> = Task::new(cell.clone(), None);
        cell.spawn(&task.erased(), &self.inner.queue);
        match task.join() {
            Ok(Ok(value)) => value,
            Ok(Err(payload)) => resume_unwind(payload),
            Err(TaskError::SupervisorStopped) => stopped(),
            Err(error) => panic!("{error}"),
        }
    }

    /// The loop's runtime, for libraries that ask for one.
    pub fn handle(&self) -> Handle {
        self.inner.handle.clone()
    }

    /// Stops the loop: tasks that run on it are dropped at the await where they stand and end with
    /// `SupervisorStopped`, as does what is spawned on it later.
    pub fn stop(&self) {
        self.inner.stop();
    }
}
