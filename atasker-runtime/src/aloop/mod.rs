//! The aloops: a place for futures. Each is a tokio runtime on threads of its own.
//!
//! A task's future is wrapped in a driver (`drive`) that makes the task the current one while it is
//! polled, catches panics, and ends the task in whichever way the future goes: by returning, by a
//! panic, or by being dropped.

mod body;
mod place;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use crate::info::AloopInfo;
use crate::launcher::TaskBuilder;
use crate::supervisor::Core;
use crate::task::handle::Task;
use crate::task::wait::ended;
use crate::task::{AnyTask, owners, park};
use crate::thread_start;

pub(crate) use body::{Once, Repeat, Seat};
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
    shutdown: Arc<Notify>,
    stopped: Mutex<bool>,
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
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            threads,
            handle: runtime.handle().clone(),
            shutdown: Arc::clone(&shutdown),
            stopped: Mutex::new(false),
            supervisor,
        });
        std::thread::Builder::new().name(thread_name).spawn(move || {
            thread_start::thread_starts();
            park::mark_aloop_thread();
            let _works_for = owner.map(owners::work_for);
            runtime.block_on(shutdown.notified());
            // Futures that still run are dropped here, each at the await where it stands.
            drop(runtime);
        })?;
        Ok(inner)
    }

    fn stop(&self) {
        *self.stopped.lock() = true;
        self.shutdown.notify_one();
    }

    /// Takes no more tasks, and stops when these have ended.
    fn stop_after(&self, tasks: Vec<Arc<dyn AnyTask>>) {
        *self.stopped.lock() = true;
        let shutdown = Arc::clone(&self.shutdown);
        self.handle.spawn(async move {
            for task in tasks {
                ended(task).await;
            }
            shutdown.notify_one();
        });
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.lock()
    }

    fn info(&self) -> AloopInfo {
        AloopInfo {
            name: self.name.clone(),
            threads: self.threads,
            running: self.handle.metrics().num_alive_tasks(),
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
        let driven = async move {
            let mut future = pin!(future);
            poll_fn(|context| {
                let _on_aloop = park::drive_aloop();
                future.as_mut().poll(context)
            })
            .await
        };
        match park::block_on_future(self.inner.handle.spawn(driven)) {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(payload) => std::panic::resume_unwind(payload),
                Err(_) => stopped(),
            },
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
