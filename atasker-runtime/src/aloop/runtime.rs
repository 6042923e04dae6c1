//! One aloop: its tokio runtime and its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use super::runner::Runners;
use crate::fork;
use crate::info::AloopInfo;
use crate::task::future::queue::Queue;
use crate::task::scheduler::SchedulerKey;
use crate::task::wait::ended;
use crate::task::{TaskArc, park, scheduler};
use crate::thread_start;

/// An aloop: a tokio runtime with dedicated threads.
pub(crate) struct Loop {
    name: String,
    threads: usize,
    handle: Handle,
    queue: Arc<Queue>,
    runners: Arc<Runners>,
    shutdown: Arc<Notify>,
    stopped: AtomicBool,
}

impl Loop {
    /// Starts an aloop with `threads` threads.
    pub(super) fn start(
        scheduler: SchedulerKey,
        supervisor_id: &str,
        name: &str,
        threads: usize,
    ) -> std::io::Result<Arc<Loop>> {
        // The name of a thread must not contain NUL.
        let thread_name = format!("supervisor_{supervisor_id}_aloop_{name}").replace('\0', "?");
        let runtime = runtime(&thread_name, threads)?;
        let shutdown = Arc::new(Notify::new());
        let queue = Arc::new(Queue::new(runtime.handle().clone()));
        let runners =
            Runners::start(Arc::clone(&queue), Some(scheduler), runtime.handle(), threads);
        let inner = Arc::new(Loop {
            name: name.to_owned(),
            threads,
            handle: runtime.handle().clone(),
            queue: Arc::clone(&queue),
            runners,
            shutdown: Arc::clone(&shutdown),
            stopped: AtomicBool::new(false),
        });
        std::thread::Builder::new().name(thread_name).spawn(move || {
            thread_start::on_thread_start();
            park::set_aloop_thread();
            let _entered = scheduler::enter(scheduler);
            runtime.block_on(async {
                shutdown.notified().await;
                // Drops the futures that are pending, each at its current await.
                queue.close().await;
            });
            drop(runtime);
        })?;
        Ok(inner)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub(crate) fn tokio_handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn stop(&self) {
        // Before the notification, so that launches are rejected from here on.
        self.stopped.store(true, Ordering::Release);
        self.shutdown.notify_one();
    }

    /// Rejects further tasks, and stops when these have ended.
    pub(super) fn stop_after(&self, tasks: Vec<TaskArc>) {
        self.stopped.store(true, Ordering::Release);
        let shutdown = Arc::clone(&self.shutdown);
        self.handle.spawn(async move {
            for task in tasks {
                ended(task).await;
            }
            shutdown.notify_one();
        });
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn info(&self) -> AloopInfo {
        // tokio tasks that were spawned through `Aloop::handle`.
        let others = self.handle.metrics().num_alive_tasks().saturating_sub(self.runners.count());
        let ends = self.queue.ends.counts();
        AloopInfo {
            name: self.name.clone(),
            threads: self.threads,
            running: self.queue.live() as usize + others,
            completed: ends.completed,
            failed: ends.failed,
            timed_out: ends.timed_out,
            canceled: ends.canceled,
        }
    }
}

impl Drop for Loop {
    /// Stops the aloop, because no handle is left.
    fn drop(&mut self) {
        if !self.is_stopped() && !fork::is_copy() {
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
        // Marked when a thread parks, not when it starts, because the threads of `spawn_blocking`
        // never park and may block. A tick sets the mark as well, for a thread that has not parked
        // yet.
        .on_thread_start(thread_start::on_thread_start)
        .on_thread_park(park::set_aloop_thread)
        .enable_all()
        .build()
}
